"""What the fork server and its owner say to each other: lines of JSON over a Unix stream socket, descriptors beside the first byte of theirs.

A stream, since macOS has no sequenced packets of Unix sockets. Both ends are ours; lengths are bounded all the same.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import cast

#: Most bytes of one message.
MAX_MESSAGE = 1 << 17
#: Descriptors that come with one message.
MAX_DESCRIPTORS = 4
Message = dict[str, object]


class Inbox:
    """Puts messages together from what comes. Owns the descriptors that came, until they are taken."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes = bytearray()
        self._descriptors: deque[int] = deque()

    def read(self) -> list[Message] | None:
        """The messages that one read completed; None at the end.

        Raises:
            BlockingIOError: there is nothing.
            OSError: the connection failed.
            ValueError: a message is too long, or is none.
        """
        data, descriptors, _, _ = socket.recv_fds(self._connection, MAX_MESSAGE, MAX_DESCRIPTORS)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - of the standard library
        self._descriptors.extend(descriptors)
        if not data:
            return None
        *lines, rest = bytes(self._bytes + data).split(b"\n")
        if len(rest) > MAX_MESSAGE:
            raise ValueError(f"a message of more than {MAX_MESSAGE} bytes")
        self._bytes = bytearray(rest)
        return [cast("Message", json.loads(line)) for line in lines]

    def take(self) -> int:
        """The descriptor that came with the oldest message that has one.

        Raises:
            ValueError: none came.
        """
        if not self._descriptors:
            raise ValueError("the message has no descriptor")
        return self._descriptors.popleft()

    def close(self) -> None:
        """Close what nobody took."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


class Outbox:
    """Sends messages in order, as fast as the other end reads. Has copies of descriptors that are not sent yet.

    Args:
        connection: to the other end; may be non-blocking.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting: deque[tuple[memoryview, list[int]]] = deque()

    def put(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Add a message.

        Raises:
            ValueError: it is too long.
        """
        line = json.dumps(message).encode()
        if len(line) > MAX_MESSAGE:
            raise ValueError(f"a message of {len(line)} bytes, more than {MAX_MESSAGE}")
        self._waiting.append((memoryview(line + b"\n"), [os.dup(number) for number in descriptors]))

    def flush(self) -> bool:
        """Send what the connection takes; whether that was all.

        Raises:
            OSError: the connection failed.
        """
        while self._waiting:
            data, descriptors = self._waiting[0]
            try:
                sent = self._send(data, descriptors)
            except BlockingIOError:
                return False
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._waiting[0] = (data[sent:], [])
            else:
                self._waiting.popleft()
        return True

    def close(self) -> None:
        """Forget what was not sent."""
        while self._waiting:
            for descriptor in self._waiting.popleft()[1]:
                os.close(descriptor)

    def _send(self, data: memoryview, descriptors: list[int]) -> int:
        beside = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        return self._connection.sendmsg([data], beside)
