"""The sockets of one machine; QEMU gets those that it serves when they listen already."""

from __future__ import annotations

from pathlib import Path

from monocore_core.vmmkit.sockets import AGENT_SOCKET, QueueFull, connect, listen
from monocore_core.vmmkit.sockets import remove as _remove

__all__ = ["AGENT_SOCKET", "QMP_SOCKET", "SHARES_SOCKET", "QueueFull", "connect", "listen", "remove"]

QMP_SOCKET = "qmp.sock"
SHARES_SOCKET = "shares.sock"


def remove(folder: Path) -> None:
    """Remove those that are there."""
    _remove(folder, AGENT_SOCKET, QMP_SOCKET, SHARES_SOCKET)
