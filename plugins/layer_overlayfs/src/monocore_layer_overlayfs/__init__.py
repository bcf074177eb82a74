"""Roots as overlayfs mounts of layers that are unpacked once each. Experimental."""
