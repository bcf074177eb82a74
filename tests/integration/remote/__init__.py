"""The command line for a daemon elsewhere."""
