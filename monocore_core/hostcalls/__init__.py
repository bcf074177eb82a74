"""Calls of the host that Linux and macOS answer differently, each with one form for the rest of the code.

- :mod:`~monocore_core.hostcalls.paths`: a short name for a folder whose path a socket's address has no room for
- :mod:`~monocore_core.hostcalls.attributes`: extended attributes by folder and name, or by descriptor
- :mod:`~monocore_core.hostcalls.processors`: how many this process may use

Processes are :mod:`monocore_core.processes`'. What is for macOS was written and not run there: a test takes the calls that only Linux has
away, and runs what remains.
"""
