"""Processes of the host by number and start time: whether one runs, word of its end, its exit status, a signal to it alone.

A number is given to another process later; a number, its start time and the boot's identity are not. ``start_time`` and ``boot_id`` tell
processes apart; ``watch`` gives a :class:`~monocore_core.processes.handle.Handle` whose descriptor becomes readable at the end.
Linux answers through pidfds and ``/proc``, macOS through kqueue and libproc (written, not run there).

    handle = watch(pid)
    loop.add_reader(handle.fileno(), on_end)
"""

import sys

if sys.platform == "darwin":
    from monocore_core.processes.darwin import boot_id, start_time, watch
else:
    from monocore_core.processes.linux import boot_id, start_time, watch

__all__ = ["boot_id", "start_time", "watch"]
