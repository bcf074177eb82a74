"""The namespaces of the sandboxes, and the process that holds them open.

A namespace lives as long as a process is in it. The holder does nothing else (it is ``sleep infinity``), so that what lives in the
namespace outlives every other process of ours. As root it is a network namespace; for an ordinary user, a user namespace in which
they are root, and a network namespace that belongs to it. See namespaces(7), user_namespaces(7), unshare(1).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from monocore_core.errors import MachineError, Unsupported
from monocore_core.vmmkit.process import boot_id, start_time
from monocore_net_tap import syscalls

#: Seconds that the holder may take to be in its namespaces.
_PATIENCE = 10.0
_STEP = 0.002
_PROGRAM = "sleep infinity"


@frozen
class Holder:
    """A process that holds the namespaces; found again by its number, its start and the host's boot."""

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it is still this process."""
        return self.boot == boot_id() and start_time(self.pid) == self.started

    @property
    def network(self) -> str:
        """Path of the network namespace."""
        return f"/proc/{self.pid}/ns/net"

    @property
    def user(self) -> str:
        """Path of the user namespace."""
        return f"/proc/{self.pid}/ns/user"

    def enter(self) -> None:
        """Join the namespaces. Only for a process of one thread, when there is a user namespace.

        Raises:
            MachineError: the kernel refuses.
        """
        try:
            if not _same(self.user, "/proc/self/ns/user"):
                _join(self.user, syscalls.CLONE_NEWUSER)
            _join(self.network, syscalls.CLONE_NEWNET)
        except OSError as error:
            raise MachineError(f"the network namespace could not be entered: {error.strerror}") from error

    def end(self) -> None:
        """End the process, and with it the namespaces when nobody else is in them."""
        if self.alive:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


def hold(record: Callable[[Holder], None], *, rootless: bool) -> Holder:
    """Make new namespaces.

    Args:
        record: keeps who holds them. The holder waits for that: if this process is killed before, it ends.
        rootless: whether an ordinary user makes them.

    Raises:
        Unsupported: unshare(1) is missing, or the kernel refuses.
    """
    program = shutil.which("unshare")
    if program is None:
        raise Unsupported("unshare is not installed", hint="apt-get install util-linux")
    own = ["--user", "--map-root-user"] if rootless else []
    words = [program, *own, "--net", "--", "sh", "-c", f"read -r go && exec {_PROGRAM}"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
    )
    try:
        _await_inside(process)
        holder = Holder(process.pid, start_time(process.pid) or 0, boot_id())
        record(holder)
        os.write(process.stdin.fileno() if process.stdin else -1, b"go\n")
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        for pipe in (process.stdin, process.stderr):
            if pipe is not None:
                pipe.close()
    return holder


def _await_inside(process: subprocess.Popen[bytes]) -> None:
    """Wait until ``unshare`` has become the shell: then every namespace and every mapping is there."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = (process.stderr.read(400) if process.stderr else b"").decode(errors="replace").strip()
            raise Unsupported(
                f"no namespace could be made: {said or 'unshare ended'}",
                hint="'monocore doctor' tells what forbids it",
            )
        try:
            if Path("/proc", str(process.pid), "comm").read_text().strip() == "sh":
                return
        except OSError:
            continue
        time.sleep(_STEP)
    raise MachineError("unshare did not make the namespaces in time")


def _same(one: str, other: str) -> bool:
    first, second = Path(one).stat(), Path(other).stat()
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _join(path: str, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(descriptor, kind)
    finally:
        os.close(descriptor)
