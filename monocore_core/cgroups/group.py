"""One group, in one hierarchy (v2) or several (v1)."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from monocore_core.cgroups.parse import parse_flat, parse_io_stat, parse_number, parse_pids
from monocore_core.cgroups.survey import read
from monocore_core.cgroups.values import IoLimit, Limit, Limits, Usage
from monocore_core.errors import Conflict, DeadlineExceeded, StorageError, Unsupported

#: Microseconds in which a share of processor time is given; the kernel's own default.
PERIOD = 100_000
_MIN_QUOTA = 1000


@frozen
class Group:
    """The folders of one key.

    Attributes:
        key: of the sandbox.
        folders: for each limit that is enforced here, the group's folder; v2's is the same for all.
        version: 1 or 2, for each.
    """

    key: str
    folders: Mapping[Limit, Path]
    version: Mapping[Limit, int]

    @property
    def procs(self) -> tuple[Path, ...]:
        """The files to write a process id into, to attach it; "0" is the writer itself."""
        return tuple(folder / "cgroup.procs" for folder in self._unique())

    def attach(self, pid: int) -> None:
        """Put a process in; its later children are born in it. Nothing is moved that was not named.

        Raises:
            StorageError: the kernel refused: there is no such process, or it is another user's.
        """
        for file in self.procs:
            write(file, str(pid))

    def limit(self, limits: Limits) -> None:
        """Set limits, for what runs as well; what is None is unlimited.

        Raises:
            Unsupported: a limit has no controller here, or the device of ``io`` cannot be limited.
            StorageError: the kernel refused.
        """
        for limit in limits.wanted():
            if limit not in self.folders:
                raise Unsupported(f"group {self.key!r} has no {limit} controller")
        for limit, folder in self.folders.items():
            first = self.version[limit] == 1
            for name, value in _settings(limit, limits, first=first):
                write(folder / name, value)

    def pids(self) -> tuple[int, ...]:
        """Processes in it, in any of the hierarchies; zombies are not."""
        return tuple(dict.fromkeys(pid for file in self.procs for pid in parse_pids(read(file))))

    def usage(self) -> Usage:
        """What it uses; None for what is not known, everything when it was removed."""
        cpu, memory, pids = (self.folders.get(limit) for limit in (Limit.CPU, Limit.MEMORY, Limit.PIDS))
        known: dict[str, int | None] = {}
        if cpu is not None:
            known |= _cpu(cpu, first=self.version[Limit.CPU] == 1)
        if memory is not None:
            known |= _memory(memory, first=self.version[Limit.MEMORY] == 1)
        if pids is not None:
            known["pids"] = parse_number(read(pids / "pids.current"))
        if Limit.IO in self.folders and (stat := read(self.folders[Limit.IO] / "io.stat")):
            known["read_bytes"], known["written_bytes"] = parse_io_stat(stat)
        return Usage(**known)

    def kill(self, timeout: float = 10.0) -> None:
        """End every process in it with SIGKILL, and wait for that; blocking. None, or a group that is gone, is not an error.

        Raises:
            DeadlineExceeded: something remains after ``timeout`` seconds.
            StorageError: the kernel refused.
        """
        deadline = time.monotonic() + timeout
        while pids := self.pids():
            if time.monotonic() >= deadline:
                left = ", ".join(map(str, pids))
                raise DeadlineExceeded(f"processes {left} of group {self.key!r} do not end")
            handles = {pid: handle for pid in pids if (handle := _pidfd(pid)) is not None}
            try:
                self._kill(handles)
                _wait(handles.values(), deadline)
            finally:
                for handle in handles.values():
                    os.close(handle)

    def remove(self) -> None:
        """Remove its folders. Those that are gone are not an error.

        Raises:
            Conflict: processes are in it.
            StorageError: the kernel refused.
        """
        for folder in self._unique():
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise Conflict(f"processes are in group {self.key!r}", hint="end them first") from error
                raise StorageError(f"{folder}: {error.strerror}") from error

    def _kill(self, handles: Mapping[int, int]) -> None:
        for folder in self._unique():
            with suppress(OSError):
                (folder / "cgroup.kill").stat()
                write(folder / "cgroup.kill", "1")  # in one go, what is being forked included
                return
        here = set(self.pids())  # again: an id that was used anew meanwhile is not in it
        for pid in here & handles.keys():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handles[pid], signal.SIGKILL)

    def _unique(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(self.folders.values()))


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        raise StorageError(f"cannot open process {pid}: {error.strerror}") from error


def _wait(handles: Collection[int], deadline: float) -> None:
    """Until the processes of all these have ended, or the time is up."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    left = set(handles)
    while left and (rest := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(rest * 1000):
            poll.unregister(handle)
            left.discard(handle)


def _settings(limit: Limit, limits: Limits, *, first: bool) -> Iterator[tuple[str, str]]:
    """Files and what to write into them."""
    match limit:
        case Limit.CPU:
            quota = None if limits.cpu is None else max(_MIN_QUOTA, round(limits.cpu * PERIOD))
            if first:
                yield "cpu.cfs_period_us", str(PERIOD)
                yield "cpu.cfs_quota_us", str(-1 if quota is None else quota)
            else:
                yield "cpu.max", f"{'max' if quota is None else quota} {PERIOD}"
        case Limit.MEMORY:
            if first:
                yield "memory.limit_in_bytes", str(-1 if limits.memory is None else limits.memory)
            else:
                yield "memory.max", str(limits.memory or "max")
        case Limit.PIDS:
            yield "pids.max", str(limits.pids or "max")
        case Limit.IO:
            if limits.io is not None:
                yield "io.max", io_line(limits.io, device_of(limits.io.path))


def io_line(limit: IoLimit, device: str) -> str:
    """The line of ``io.max`` for a device ``MAJOR:MINOR``. Pure."""
    words = {
        "rbps": limit.read_bytes,
        "wbps": limit.write_bytes,
        "riops": limit.read_operations,
        "wiops": limit.write_operations,
    }
    return " ".join([device, *(f"{name}={value or 'max'}" for name, value in words.items())])


def device_of(path: Path, block: Path = Path("/sys/dev/block")) -> str:
    """``MAJOR:MINOR`` of the disk (not the partition) that holds ``path``.

    Raises:
        Unsupported: it is on no block device, as tmpfs, overlays and btrfs are not.
        StorageError: there is no such file.
    """
    try:
        number = path.stat().st_dev
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    entry = block / f"{os.major(number)}:{os.minor(number)}"
    if not entry.exists():
        raise Unsupported(
            f"{path} is on a file system without a block device of its own, whose rate cannot be limited"
        )
    disk = entry.resolve().parent if (entry / "partition").exists() else entry
    return read(disk / "dev").decode().strip()


def _cpu(folder: Path, *, first: bool) -> dict[str, int | None]:
    stat = parse_flat(read(folder / "cpu.stat"))
    if first:
        return {
            "cpu_ns": parse_number(read(folder / "cpuacct.usage")),
            "throttled_ns": stat.get("throttled_time"),
        }
    used, waited = stat.get("usage_usec"), stat.get("throttled_usec")
    return {
        "cpu_ns": None if used is None else used * 1000,
        "throttled_ns": None if waited is None else waited * 1000,
    }


def _memory(folder: Path, *, first: bool) -> dict[str, int | None]:
    name, events = (
        ("memory.usage_in_bytes", "memory.oom_control") if first else ("memory.current", "memory.events")
    )
    return {
        "memory": parse_number(read(folder / name)),
        "oom_kills": parse_flat(read(folder / events)).get("oom_kill"),
    }


def write(file: Path, text: str) -> None:
    """One write, as the kernel's files want it.

    Raises:
        StorageError: the kernel refused.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"cannot write {text!r} to {file}: {error.strerror}") from error
