"""macOS: kqueue(2) with ``EVFILT_PROC``, ``proc_pidinfo`` of libproc. Written, not run there.

Layout and numbers are those of XNU's ``bsd/sys/proc_info.h`` (``struct proc_bsdinfo``, ``PROC_PIDTBSDINFO``), ``bsd/sys/event.h``
and ``bsd/sys/proc.h`` (``SZOMB``). A kqueue is readable while an event waits in it, and cannot be passed to another process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Protocol

from attrs import frozen

PROC_PIDTBSDINFO = 3
SZOMB = 5
_MAXCOMLEN = 16
_UUID_BYTES = 37  # with the closing zero


class BsdInfo(ctypes.Structure):
    """``struct proc_bsdinfo``: 136 bytes."""

    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("status", ctypes.c_uint32),
        ("xstatus", ctypes.c_uint32),
        ("pid", ctypes.c_uint32),
        ("ppid", ctypes.c_uint32),
        ("ids", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32),
        ("comm", ctypes.c_char * _MAXCOMLEN),
        ("name", ctypes.c_char * (2 * _MAXCOMLEN)),
        ("numbers", ctypes.c_uint32 * 5),
        ("nice", ctypes.c_int32),
        ("start_seconds", ctypes.c_uint64),
        ("start_microseconds", ctypes.c_uint64),
    )


#: ``proc_pidinfo(pid, flavor, arg, buffer, size)``: bytes written, 0 or less on failure.
PidInfo = Callable[[int, int, int, ctypes.Structure, int], int]


class Queue(Protocol):
    """A kqueue that one process's end is awaited in."""

    def fileno(self) -> int:
        """Readable once the process has ended."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


@frozen
class QueueHandle:
    """A process through a kqueue, and its start time, by which a signal finds it and no other."""

    pid: int
    started: int
    queue: Queue
    info: PidInfo

    def fileno(self) -> int:
        """The kqueue's descriptor."""
        return self.queue.fileno()

    def signal(self, number: signal.Signals) -> None:
        """See :class:`~monocore_core.processes.handle.Handle`. A child keeps its number until collected; of others it is looked at just before."""
        if started_at(self.pid, self.info) != self.started:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        os.kill(self.pid, number)

    def collect(self) -> int | None:
        """See :class:`~monocore_core.processes.handle.Handle`."""
        try:
            found, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if found else None

    def close(self) -> None:
        """See :class:`~monocore_core.processes.handle.Handle`."""
        self.queue.close()


def watched(pid: int, open_queue: Callable[[int], Queue], info: PidInfo) -> QueueHandle:
    """As :func:`watch`, with the system's calls given. The start time is read on both sides of the registration, so that both mean one process."""
    before = started_at(pid, info)
    queue = open_queue(pid)
    after = started_at(pid, info)
    if after is not None and before not in {None, after}:
        queue.close()
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
    return QueueHandle(pid, before or after or 0, queue, info)


def started_at(pid: int, info: PidInfo) -> int | None:
    """As :func:`start_time`, with libproc's call given."""
    found = BsdInfo()
    size = ctypes.sizeof(found)
    if info(pid, PROC_PIDTBSDINFO, 0, found, size) != size or int(found.status) == SZOMB:
        return None
    return int(found.start_seconds) * 1_000_000 + int(found.start_microseconds)


if sys.platform == "darwin":

    def _open_queue(pid: int) -> Queue:
        queue = select.kqueue()
        event = select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )
        try:
            queue.control([event], 0)
        except BaseException:
            queue.close()
            raise
        return queue

    def _pid_info(pid: int, flavor: int, argument: int, found: ctypes.Structure, size: int) -> int:
        call = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pidinfo
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int]
        return int(call(pid, flavor, argument, ctypes.byref(found), size))

    def watch(pid: int) -> QueueHandle:
        """Watch a process.

        Raises:
            OSError: there is none, or no descriptor is left.
        """
        return watched(pid, _open_queue, _pid_info)

    def start_time(pid: int) -> int | None:
        """When a process started, in microseconds since 1970; None when it is gone or a zombie."""
        return started_at(pid, _pid_info)

    def boot_id() -> str:
        """Names this boot of the host (``kern.bootsessionuuid``)."""
        text = ctypes.create_string_buffer(_UUID_BYTES)
        length = ctypes.c_size_t(_UUID_BYTES)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(length), None, ctypes.c_size_t(0)):
            raise OSError(ctypes.get_errno(), "kern.bootsessionuuid")
        return text.value.decode().lower()
