"""A VMM's process: started without a fork of Python's memory, watched and signalled through a handle.

A handle (:mod:`monocore_core.processes`; on Linux a pidfd) never points to another process that was given the same number later, works for children and for processes adopted
from an earlier life of ours, and wakes the event loop. See prctl(2) ``PR_SET_PDEATHSIG``.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from monocore_core.errors import MachineError
from monocore_core.processes import boot_id, start_time, watch
from monocore_core.processes.handle import Handle

__all__ = ["SETPRIV", "Process", "adopt", "boot_id", "give_way", "spawn", "start_time"]

#: After ``setpriv`` has asked for the signal, the parent may be gone already: then nobody would ever send it.
_TIED = 'test "$PPID" = "$1" && shift && exec "$@"'
SETPRIV = "setpriv"
#: How often the number of a group is tried, and between how many seconds the next try is.
_GROUP_TRIES, _GROUP_PAUSE = 50, (0.1, 0.4)


class Process:
    """A running or ended process.

    Args:
        pid: its number.
        started: its start time, see :func:`~monocore_core.processes.start_time`.
        handle: owned from here on.
        child: whether its exit status is ours to collect.
    """

    def __init__(self, pid: int, started: int, handle: Handle, *, child: bool) -> None:
        self.pid = pid
        self.started = started
        self.status: int | None = None
        """Exit status; minus the signal's number when a signal ended it; None while it runs or when unknown."""
        self._handle: Handle | None = handle
        self._child = child
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(handle.fileno(), self._on_end)

    @property
    def ended(self) -> bool:
        """Whether the process is gone, as far as the loop has noticed."""
        return self._ended.done()

    async def wait(self) -> None:
        """Wait until the process has ended. May be called by many."""
        await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self._handle is not None and not self.ended:
            try:
                self._handle.signal(number)
            except ProcessLookupError:
                return

    def release(self) -> None:
        """Stop watching; the process goes on. A repeat does nothing."""
        if self._handle is not None:
            self._loop.remove_reader(self._handle.fileno())
            self._handle.close()
            self._handle = None

    def _on_end(self) -> None:
        if self._child and self._handle is not None:
            self.status = self._handle.collect()
        self.release()
        if not self._ended.done():
            self._ended.set_result(None)


def spawn(argv: Sequence[str], *, stderr: int, inherit: Sequence[int], tied: bool) -> Process:
    """Start a program in a session of its own, so that a terminal's signals do not reach it.

    Args:
        argv: program, by path, and arguments.
        stderr: descriptor for its standard output and error.
        inherit: descriptors that keep their numbers in the program.
        tied: kill it when our thread that called this ends.

    Raises:
        MachineError: it could not be started.
    """
    words = _tie(argv) if tied else list(argv)
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stderr, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]
    actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in inherit]  # clears close-on-exec
    try:
        pid = os.posix_spawn(
            words[0],
            words,
            os.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP),
        )
        handle = watch(pid)
    except OSError as error:
        raise MachineError(f"{words[0]}: could not be started ({error.strerror})") from error
    return Process(pid, start_time(pid) or 0, handle, child=True)


def give_way(process: Process, nice: int) -> None:
    """Let everybody else have the processor first, by as much as nice(1) counts; the threads that the process starts inherit it. Refusals change nothing.

    A process that leads a session of its own is a group to the scheduler where that is switched on, and among groups it is the group's number that
    counts: sched(7), "The autogroup feature". An ordinary user may set ten of those a second, so one that is refused for that is set soon.
    """
    with suppress(OSError):  # it may be gone already
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
    _group_gives_way(process, nice, _GROUP_TRIES)


def _group_gives_way(process: Process, nice: int, tries: int) -> None:
    if process.ended or not tries:
        return
    try:
        Path(f"/proc/{process.pid}/autogroup").write_text(str(nice))
    except BlockingIOError:
        wait = random.uniform(*_GROUP_PAUSE)  # noqa: S311 - so that many do not ask at once
        asyncio.get_running_loop().call_later(wait, _group_gives_way, process, nice, tries - 1)
    except OSError:  # a host without the feature, or it is gone
        return


def adopt(pid: int, started: int) -> Process | None:
    """The process of that number and start time, when it still runs."""
    try:
        handle = watch(pid)
    except (OSError, ValueError):
        return None
    if start_time(pid) != started:
        handle.close()
        return None
    return Process(pid, started, handle, child=False)


def _tie(argv: Sequence[str]) -> list[str]:
    setpriv = shutil.which(SETPRIV)
    if setpriv is None:
        raise MachineError("setpriv is not installed", hint="apt-get install util-linux")
    return [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _TIED, "sh", str(os.getpid()), *argv]
