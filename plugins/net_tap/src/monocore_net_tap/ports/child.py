"""Processes that the keeper forks while it has one thread: they speak with it over a socket, and end with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import cast

from attrs import frozen

from monocore_core.errors import MachineError
from monocore_net_tap import syscalls
from monocore_net_tap.messages import Message

_MAX_MESSAGE = 4096
#: Seconds that an answer may take.
_WITHIN = 10.0


@frozen
class Child:
    """A forked process, and our end of the socket (SEQPACKET) to it."""

    pid: int
    link: socket.socket

    def ask(self, message: Message, descriptor: int | None = None) -> tuple[Message, int | None]:
        """One request and its answer, each with at most one descriptor. One thread at a time.

        Raises:
            MachineError: the process is gone, or does not answer.
        """
        try:
            send(self.link, message, descriptor)
        except OSError as error:
            raise MachineError(
                f"net_tap: the process for published ports does not answer: {error}"
            ) from error
        return self.hear()

    def hear(self) -> tuple[Message, int | None]:
        """The next message of the process.

        Raises:
            MachineError: the process is gone, or says nothing.
        """
        try:
            answer = receive(self.link)
        except OSError as error:
            raise MachineError(
                f"net_tap: the process for published ports does not answer: {error}"
            ) from error
        if answer is None:
            raise MachineError("net_tap: the process for published ports is gone")
        return answer

    def end(self) -> None:
        """End it; a repeat is not allowed."""
        self.link.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork(work: Callable[[socket.socket], None]) -> Child:
    """Fork a process that does ``work`` with its end of the socket, and nothing else.

    Only for a process of one thread. It is in the namespaces in which this process is now.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _become(theirs)
            work(theirs)
            status = 0
        except BaseException:  # noqa: BLE001 - the error boundary of this process: the log tells, and the keeper starts again
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    theirs.close()
    ours.settimeout(_WITHIN)
    return Child(pid, ours)


def send(link: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send one message."""
    data = json.dumps(message).encode()
    socket.send_fds(link, [data], [] if descriptor is None else [descriptor])


def receive(link: socket.socket) -> tuple[Message, int | None] | None:
    """The next message; None when the other end is closed."""
    data, descriptors, _, _ = socket.recv_fds(link, _MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    return cast("Message", json.loads(data)), descriptors[0] if descriptors else None


def _become(link: socket.socket) -> None:
    """Keep the log and the socket alone: no lock, no listener and no pipe of the keeper's stays open by us."""
    syscalls.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    kept = {0, 1, 2, link.fileno()}
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:  # the folder's own
                continue
