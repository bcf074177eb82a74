"""microVMs by libkrun."""
