"""Hands out VM processes: ``python -I -m monocore_vmm_libkrun.server SOCKET LIBKRUN [LIBKRUNFW]``.

``krun_start_enter`` takes over the process that calls it, so every machine needs one of its own. This program has one thread, loads the
libraries once, and forks for every request that comes over its socket (``SOCK_SEQPACKET``, JSON, descriptors beside it):
that takes milliseconds. It says hello with the library's functions, answers each request with the process's number and pidfd or
with the call that failed, and reports how processes end. When its owner hangs up it ends, and the kernel kills its machines
(``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn, cast

from monocore_vmm_libkrun.binding import CallFailed, Krun

MAX_MESSAGE = 1 << 17
#: Seconds for the calls before ``krun_start_enter``.
PATIENCE = 20.0
#: Exit status of a process whose calls failed.
FAILED = 125
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_ENTERING = b"entering"
#: Above every descriptor that has a meaning.
_HIGH = 64


def main(words: list[str]) -> int:
    """Serve until the owner hangs up."""
    owner = socket.socket(fileno=int(words[0]))
    try:
        krun = Krun(Path(words[1]), Path(words[2]) if len(words) > 2 else None)
    except OSError as error:
        _send(owner, {"error": str(error)})
        return 1
    _send(owner, {"symbols": sorted(krun.symbols)})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner decides
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([owner.fileno(), *children], [], [])
        for pidfd in children.keys() & set(ready):
            _send(owner, {"exited": children.pop(pidfd), "status": _collect(pidfd)})
        if owner.fileno() in ready and not _serve(owner, krun, children):
            return 0


def _serve(owner: socket.socket, krun: Krun, children: dict[int, int]) -> bool:
    data, descriptors, _, _ = socket.recv_fds(owner, MAX_MESSAGE, 4)
    if not data:
        return False
    request = cast("dict[str, object]", json.loads(data))
    answer: dict[str, object] = {"id": request["id"]}
    try:
        pid, error = _fork(owner, krun, request, descriptors[0])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if error:
        os.waitpid(pid, 0)
        _send(owner, {**answer, "error": error})
        return True
    pidfd = os.pidfd_open(pid)
    children[pidfd] = pid
    _send(owner, {**answer, "pid": pid}, pidfd)
    return True


def _fork(owner: socket.socket, krun: Krun, request: dict[str, object], console: int) -> tuple[int, str]:
    """A process that is about to enter its machine, or why it did not come so far (then it has ended, or is killed)."""
    told, tell = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(told)
            owner.close()
            tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            _become(krun, request, console, tell, parent)
        except BaseException as error:  # noqa: BLE001 - the last line of a process: whatever it is, it is told
            os.write(tell, str(error).encode()[:2000])
        os._exit(FAILED)
    os.close(tell)
    with os.fdopen(told, "rb", buffering=0) as pipe:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        said = pipe.read(4096) if ready else None
    if said == _ENTERING:
        return pid, ""
    os.kill(pid, signal.SIGKILL)
    return pid, said.decode(errors="replace") if said else "the process did not get ready in time"


def _become(krun: Krun, request: dict[str, object], console: int, tell: int, parent: int) -> NoReturn:
    """Be the machine's process: alone in its session, with its console, its folder, and nothing of ours."""
    os.setsid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(FAILED)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    os.chdir(str(request["directory"]))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, console), (2, console)):
        os.dup2(source, target)
    os.closerange(3, tell)
    os.closerange(tell + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.environ.clear()
    calls = cast("list[list[object]]", request["calls"])
    context = 0
    for name, *arguments in calls[:-1]:
        result = krun.call(str(name), context, arguments)
        if name == "krun_create_ctx":
            context = result
    os.write(tell, _ENTERING)
    os.close(tell)
    try:
        krun.call(str(calls[-1][0]), context, calls[-1][1:])
    except CallFailed as error:
        os.write(2, f"{error}\n".encode())
    os._exit(FAILED)


def _collect(pidfd: int) -> int:
    """Exit status, or minus the signal's number."""
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    if found is None:
        return FAILED
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _send(owner: socket.socket, message: dict[str, object], *descriptors: int) -> None:
    try:
        socket.send_fds(owner, [json.dumps(message).encode()], descriptors)
    except OSError:  # the owner is gone: the next look at the socket ends us
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
