"""Many services on this machine, and a daemon that is killed under them: what holds up, what it costs, what is left behind."""
