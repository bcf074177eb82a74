"""Whoever started the daemon, and waits for it: a client, or systemd.

A client names a descriptor in ``MONOCORE_READY_FD``; it gets ``ready``, or one line with the problem, and is closed. systemd names a
socket in ``NOTIFY_SOCKET`` (sd_notify(3), ``Type=notify``).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager

from monocore_core.errors import MonocoreError
from monocore_core.server.problems import problem_of

READY_VARIABLE, NOTIFY_VARIABLE = "MONOCORE_READY_FD", "NOTIFY_SOCKET"


class Readiness:
    """Tells whoever started us whether we serve. A descriptor is closed once it has been told.

    Args:
        fd: of the client that waits, or None.
        notify: path of systemd's socket, of an abstract one with an ``@`` before it; or empty.
    """

    def __init__(self, fd: int | None, notify: str = "") -> None:
        self._fd = fd
        self._notify = notify

    def ready(self) -> None:
        """Our socket is open."""
        self._say("ready")
        self._tell("READY=1")

    def ending(self) -> None:
        """We are about to end."""
        self._tell("STOPPING=1")

    def failed(self, error: MonocoreError) -> None:
        """We could not begin; when we were ready before, there is nobody to tell any more."""
        self._say(json.dumps(problem_of(error)))
        self._tell("STATUS=" + error.brief.replace("\n", " ")[:500])

    def close(self) -> None:
        """Nothing more will be said."""
        self._say("")

    def _say(self, line: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, line.encode() + b"\n")
            os.close(self._fd)
            self._fd = None

    def _tell(self, message: str) -> None:
        if not self._notify:
            return
        address = "\0" + self._notify[1:] if self._notify.startswith("@") else self._notify
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            sender.send(message.encode())


@contextmanager
def readiness() -> Generator[Readiness]:
    """What the environment says of who waits, taken out of it, so that what we start does not take it for its own."""
    text = os.environ.pop(READY_VARIABLE, "")
    fd = int(text) if text.isdecimal() else None
    if fd is not None:
        os.set_inheritable(fd, False)  # noqa: FBT003 - of the standard library
    ready = Readiness(fd, os.environ.pop(NOTIFY_VARIABLE, ""))
    try:
        yield ready
    except MonocoreError as error:
        ready.failed(error)
        raise
    finally:
        ready.close()
