"""What a network and its keeper say to each other: one JSON document a message, over a Unix socket of type SEQPACKET.

A request has ``op`` and its arguments; an answer has ``ok`` or ``error``, and may carry a descriptor. Both ends are ours and belong to one user;
lengths are bounded all the same.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from monocore_core import errors
from monocore_core.errors import MachineError, MonocoreError
from monocore_core.vmmkit import sockets

SOCKET = "keeper.sock"
#: Bytes of one message; well below the default send buffer of a socket (net.core.wmem_default).
MAX_MESSAGE = 160 * 1024

Message = dict[str, object]


def encode(message: Mapping[str, object]) -> bytes:
    """As bytes.

    Raises:
        MachineError: it is too long.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_MESSAGE:
        raise MachineError(f"net_tap: a message of {len(data)} bytes is too long")
    return data


def decode(data: bytes) -> Message:
    """From bytes.

    Raises:
        MachineError: they are no message.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise MachineError("net_tap: a message is damaged") from error
    if not isinstance(found, dict):
        raise MachineError("net_tap: a message is damaged")
    return cast("Message", found)


def failure(error: MonocoreError) -> Message:
    """The answer that tells an error."""
    return {"error": {"kind": type(error).__name__, "brief": error.brief, "hint": error.hint}}


def result(answer: Message) -> Message:
    """What an answer gives.

    Raises:
        MonocoreError: what the keeper told, of the class that it had there.
    """
    told = answer.get("error")
    if told is None:
        return cast("Message", answer.get("ok") or {})
    words = cast("Mapping[str, object]", told)
    kind = getattr(errors, str(words.get("kind")), MachineError)
    if not (isinstance(kind, type) and issubclass(kind, MonocoreError)):
        kind = MachineError
    raise kind(str(words.get("brief")), hint=str(words.get("hint") or ""))


def serves(state: Path) -> bool:
    """Whether a keeper listens in this folder."""
    try:
        sockets.connect(state, SOCKET, socket.SOCK_SEQPACKET).close()
    except sockets.QueueFull:
        return True
    except MachineError:
        return False
    return True
