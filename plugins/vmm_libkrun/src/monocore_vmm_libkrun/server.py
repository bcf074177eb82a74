"""Hands out VM processes: ``python -I -m monocore_vmm_libkrun.server SOCKET LIBKRUN [LIBKRUNFW]``.

``krun_start_enter`` takes over the process that calls it, so every machine needs one of its own. This program has one thread, loads the
libraries once, and forks for every request that comes over its socket (:mod:`~monocore_vmm_libkrun.messages`): that takes milliseconds. It
says hello with the library's functions, then answers

    {"id": 7, "directory": …, "calls": […]} and a descriptor    {"id": 7, "pid": 4711, "layers": […]} or {"id": 7, "error": …}
    {"watched": 4711}   the owner has a handle                  {"exited": 4711, "status": 0}, when it ends
    {"end": 4711}       nobody wants it: it is killed           {"exited": 4711, "status": -9}

A request may have a "confinement" (:mod:`~monocore_vmm_libkrun.confine`), which the process enters before its first call.

A process keeps its number until one of the last two came, so that the owner watches none that was given it later. When the owner hangs up the
server ends, and its machines with it (:mod:`~monocore_vmm_libkrun.ties`).
"""

from __future__ import annotations

import fcntl
import itertools
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, cast

from attrs import define, field

from monocore_core.jail import confine
from monocore_core.model.security import Layer
from monocore_vmm_libkrun.binding import CallFailed, Krun
from monocore_vmm_libkrun.confine import understood
from monocore_vmm_libkrun.messages import Inbox, Message, Outbox
from monocore_vmm_libkrun.ties import renounce, tie

#: Seconds for the calls before ``krun_start_enter``.
PATIENCE = 20.0
#: Exit status of a process whose calls failed.
FAILED = 125
_ENTERING = b"entering"
#: Above every descriptor that has a meaning.
_HIGH = 64
#: More descriptors than this are looked for rather than all tried.
_MANY = 1 << 20


def main(words: list[str]) -> int:
    """Serve until the owner hangs up."""
    owner = socket.socket(fileno=int(words[0]))
    outbox = Outbox(owner)
    try:
        krun = Krun(Path(words[1]), Path(words[2]) if len(words) > 2 else None)
    except OSError as error:
        _send(outbox, {"error": str(error)})
        return 1
    _send(outbox, {"symbols": sorted(krun.symbols)})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, _awake)
    server = _Server(krun, Inbox(owner), outbox, os.pipe())
    while True:
        ready, _, _ = select.select([owner.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        server.collect()
        if owner.fileno() in ready and not server.serve():
            return 0


@define(eq=False)
class _Server:
    """The server at work.

    Attributes:
        krun: the library.
        inbox: what the owner says.
        outbox: what we say.
        lifeline: a pipe that every machine has the reading end of, and nobody but us the other.
    """

    krun: Krun
    inbox: Inbox
    outbox: Outbox
    lifeline: tuple[int, int]
    #: By number, whether the owner may lose it.
    _children: dict[int, bool] = field(init=False, factory=dict[int, bool])

    def serve(self) -> bool:
        """Do what the owner asks for; whether it is there."""
        messages = self.inbox.read()
        for message in messages or ():
            if "id" in message:
                self._start(message, self.inbox.take())
                continue
            pid = int(str(message.get("watched", message.get("end"))))
            if pid not in self._children:
                continue
            if "end" in message:
                os.kill(pid, signal.SIGKILL)
            self._children[pid] = True
        self.collect()
        return messages is not None

    def collect(self) -> None:
        """Tell of those that ended."""
        for pid in [pid for pid, known in self._children.items() if known]:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._children[pid]
                _send(self.outbox, {"exited": pid, "status": os.waitstatus_to_exitcode(status)})

    def _start(self, request: Message, console: int) -> None:
        answer: Message = {"id": request["id"]}
        try:
            pid, error, layers = _fork(self, request, console)
        finally:
            os.close(console)
        if error:
            os.waitpid(pid, 0)
            _send(self.outbox, {**answer, "error": error})
            return
        self._children[pid] = False
        _send(self.outbox, {**answer, "pid": pid, "layers": layers})


def _fork(server: _Server, request: Message, console: int) -> tuple[int, str, list[str]]:
    """A process that is about to enter its machine, or why it did not come so far (then it has ended, or is killed); and what confines it."""
    told, tell = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            lifeline = fcntl.fcntl(server.lifeline[0], fcntl.F_DUPFD_CLOEXEC, _HIGH)
            _prepare(Path(str(request["directory"])), console, {tell, lifeline})
            if not tie(parent, lifeline):
                os._exit(FAILED)
            layers = (
                confine(understood(cast("Message", request["confinement"])))
                if "confinement" in request
                else ()
            )
            _enter(server.krun, cast("list[list[object]]", request["calls"]), tell, layers)
        except BaseException as error:  # noqa: BLE001 - the last line of a process: whatever it is, it is told
            os.write(tell, str(error).encode()[:2000])
        os._exit(FAILED)
    os.close(tell)
    with os.fdopen(told, "rb", buffering=0) as pipe:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        said = pipe.read(4096) if ready else None
    if said is not None and said.startswith(_ENTERING):
        return pid, "", said.removeprefix(_ENTERING).decode().split()
    os.kill(pid, signal.SIGKILL)
    return pid, said.decode(errors="replace") if said else "the process did not get ready in time", []


def _prepare(directory: Path, console: int, kept: set[int]) -> None:
    """Be alone in a session, with a console and a folder, and nothing of the server's but ``kept``."""
    os.setsid()
    renounce()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    os.chdir(directory)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, console), (2, console)):
        os.dup2(source, target)
    _close_but(kept | {0, 1, 2})
    os.environ.clear()


def _close_but(kept: set[int]) -> None:
    end = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if end == resource.RLIM_INFINITY or end > _MANY:
        for number in {int(entry.name) for entry in Path("/dev/fd").iterdir()} - kept:
            os.closerange(number, number + 1)
        return
    bounds = [-1, *sorted(kept), end]
    for before, after in itertools.pairwise(bounds):
        if before + 1 < after:  # an empty range would close everything
            os.closerange(before + 1, after)


def _enter(krun: Krun, calls: list[list[object]], tell: int, layers: Iterable[Layer]) -> NoReturn:
    """Make the calls: the last takes this process over."""
    context = 0
    for name, *arguments in calls[:-1]:
        result = krun.call(str(name), context, arguments)
        if name == "krun_create_ctx":
            context = result
    os.write(tell, b" ".join((_ENTERING, *sorted(layer.encode() for layer in layers))))
    os.close(tell)
    try:
        krun.call(str(calls[-1][0]), context, calls[-1][1:])
    except CallFailed as error:
        os.write(2, f"{error}\n".encode())
    os._exit(FAILED)


def _awake(_number: int, _frame: object) -> None:
    """Have the pipe written to; nothing else is to be done in a handler."""


def _send(outbox: Outbox, message: Message) -> None:
    try:
        outbox.put(message)
        outbox.flush()
    except OSError:  # the owner is gone: the next look at the socket ends us
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
