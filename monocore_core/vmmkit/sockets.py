"""Unix sockets in a machine's folder, whatever the length of its path.

They are reached by a short name of the folder (:mod:`monocore_core.hostcalls.paths`). A VMM that gets sockets that listen already binds
nothing, and a connection never comes too early.
"""

from __future__ import annotations

import socket
from pathlib import Path

from monocore_core.errors import MachineError
from monocore_core.hostcalls.paths import short

#: The agent's channel.
AGENT_SOCKET = "agent.sock"


class QueueFull(MachineError):
    """Who serves the socket has not yet taken the clients that came before (QEMU lets one wait, whatever was said to ``listen``)."""


def listen(folder: Path, name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket for this user alone, in place of one that an ended machine left.

    Raises:
        MachineError: it could not be made.
    """
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        (folder / name).unlink(missing_ok=True)
        with short(folder) as prefix:
            listener.bind(f"{prefix}/{name}")
            Path(prefix, name).chmod(0o600)  # whatever the umask; nobody connects before it listens
        listener.listen(4)
    except OSError as error:
        listener.close()
        raise MachineError(f"{folder / name}: could not be made ({error.strerror})") from error
    return listener


def connect(folder: Path, name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A non-blocking socket connected to a listening one; never waits.

    Raises:
        QueueFull: try again.
        MachineError: nobody listens.
    """
    connected = socket.socket(socket.AF_UNIX, kind)
    connected.settimeout(0)
    try:
        with short(folder) as prefix:
            connected.connect(f"{prefix}/{name}")
    except OSError as error:
        connected.close()
        if isinstance(error, BlockingIOError):
            raise QueueFull(f"{folder / name}: too many clients wait") from error
        raise MachineError(f"{folder / name}: could not be connected ({error.strerror})") from error
    return connected


def remove(folder: Path, *names: str) -> None:
    """Remove the sockets that are there."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
