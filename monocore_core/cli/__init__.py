"""The command line: thin, and fast to start. One module a command; only the wanted one is imported."""
