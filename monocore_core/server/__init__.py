"""The daemon: one process per home that keeps its sandboxes and answers HTTP (``docs/api.md``).

* :mod:`.daemon`: its life: the lock, the socket, readiness, signals, and the sweeps.
* :mod:`.app`: the application: which room answers what, errors as problems, bounds.
* :mod:`.sandboxes`, :mod:`.inside`, :mod:`.system`: routes. :mod:`.attach`: WebSockets with standard input and output.
* :mod:`.views`, :mod:`.problems`, :mod:`.bodies`: values to JSON and back. Pure.

aiohttp is imported here and nowhere else in the core.
"""
