"""Decompression in processes of its own, in jails: a hole in a library that reads a stranger's compressed bytes leads nowhere.

What decompresses is C and assembly, and the first that reads a layer, before any digest is verified. So a process does it that can
read what it is handed and Python's own files, and nothing else: :mod:`~monocore_core.unpacking.worker` is what runs there,
:mod:`~monocore_core.unpacking.confine` its jail, :mod:`~monocore_core.unpacking.process` our end of it, and
:mod:`~monocore_core.unpacking.service` hands them out. What comes back is still a stranger's: whoever takes it bounds it and verifies
its digest, as before.

This module imports nothing, since the worker begins with it.
"""
