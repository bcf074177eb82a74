"""The client's end of a WebSocket (RFC 6455).

:class:`Reader` is pure: bytes in, messages out. :class:`WebSocket` moves them without ever waiting, for a program that waits for
several things at once.

Frames are masked with a key of zeros. Masking keeps a page in a browser from choosing the bytes that a proxy sees (section 10.3);
we are none, and what is not changed need not be copied.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Iterator, Mapping

from monocore_core.client.connection import CHUNK, Response, Way, Wire, connect_by, header_lines
from monocore_core.errors import Corrupt, LimitExceeded

CONTINUED, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
#: Bytes of one message, and of a control frame's payload (section 5.5).
MAX_MESSAGE, MAX_CONTROL = 16 * 1024 * 1024, 125
#: The key need not be chosen anew (section 1.3: it keeps caches from answering), so the answer to it is known, too.
_KEY, _ACCEPT = "AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
_MASKED = 0x80
_FINAL = 0x80

Message = tuple[int, bytes]


class Reader:
    """Frames from the server, put together to messages. Feed it, then iterate over :meth:`messages`."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind = 0

    def feed(self, data: bytes) -> None:
        """More bytes."""
        self._buffer += data

    def messages(self) -> Iterator[Message]:
        """What is complete: (TEXT, BINARY, CLOSE, PING or PONG; payload).

        Raises:
            Corrupt: it is no WebSocket's. LimitExceeded: a message is too large.
        """
        while (frame := self._frame()) is not None:
            final, kind, payload = frame
            if kind >= CLOSE:
                yield kind, payload
            elif (whole := self._joined(kind, payload, final=final)) is not None:
                yield whole

    def _joined(self, kind: int, payload: bytes, *, final: bool) -> Message | None:
        """The message that a frame of data completes."""
        if (kind == CONTINUED) != bool(self._kind):
            raise Corrupt("the daemon began a message within another, or continued none")
        if final and not self._parts:
            self._kind, whole = 0, (kind or self._kind, payload)
            return whole
        self._kind = self._kind or kind
        self._parts += payload
        if len(self._parts) > self._limit:
            raise LimitExceeded(f"the daemon sent a message of more than {self._limit} bytes")
        if not final:
            return None
        whole = (self._kind, bytes(self._parts))
        self._kind, self._parts = 0, bytearray()
        return whole

    def _frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        kind, final = first & 0x0F, bool(first & _FINAL)
        if first & 0x70 or second & _MASKED or kind not in (CONTINUED, TEXT, BINARY, CLOSE, PING, PONG):
            raise Corrupt("the daemon sent a malformed frame")
        size, start = second, 2
        if size == 126:
            size, start = _long(buffer, "!H", 4)
        elif size == 127:
            size, start = _long(buffer, "!Q", 10)
        if kind >= CLOSE and (size > MAX_CONTROL or not final):
            raise Corrupt("the daemon sent a malformed control frame")
        if size > self._limit:
            raise LimitExceeded(f"the daemon sent a message of more than {self._limit} bytes")
        if len(buffer) < start + size:
            return None
        with memoryview(buffer) as view:
            payload = bytes(view[start : start + size])
        del buffer[: start + size]
        return final, kind, payload


def _long(buffer: bytearray, form: str, end: int) -> tuple[int, int]:
    """A longer length and where the payload begins; as long as it is not there, a payload that is not there either."""
    if len(buffer) < end:
        return 0, end
    return int(struct.unpack_from(form, buffer, 2)[0]), end


def head(kind: int, size: int) -> bytes:
    """The beginning of a masked, final frame whose payload is that long and is sent as it is."""
    first = _FINAL | kind
    if size < 126:
        return struct.pack("!BBI", first, _MASKED | size, 0)
    if size < 1 << 16:
        return struct.pack("!BBHI", first, _MASKED | 126, size, 0)
    return struct.pack("!BBQI", first, _MASKED | 127, size, 0)


class WebSocket:
    """An open WebSocket that never waits: wait for its descriptor yourself, then :meth:`receive` or :meth:`flush`.

    Attributes:
        ended: the server has closed it, or is gone: no message will come any more.
    """

    def __init__(self, wire: Wire) -> None:
        self._socket = wire.socket
        self._reader = Reader()
        self._reader.feed(wire.rest())
        self._outgoing: deque[memoryview] = deque()
        self._pending = 0
        self._closing = False
        self.ended = False
        wire.socket.setblocking(False)  # noqa: FBT003 - of the standard library

    def fileno(self) -> int:
        """Of the socket."""
        return self._socket.fileno()

    @property
    def pending(self) -> int:
        """Bytes that the server has not taken yet."""
        return self._pending

    def send(self, kind: int, *parts: bytes) -> None:
        """Send a message, as far as the server takes it now; :meth:`flush` sends the rest."""
        if self._closing or self.ended:
            return
        for part in (head(kind, sum(map(len, parts))), *parts):
            if part:
                self._outgoing.append(memoryview(part))
                self._pending += len(part)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the server takes it now."""
        try:
            while self._outgoing:
                sent = self._socket.sendmsg([*self._outgoing][:16])
                self._pending -= sent
                self._drop(sent)
        except BlockingIOError:
            pass
        except OSError:  # it is gone: reading tells what it said before
            self._outgoing.clear()
            self._pending = 0

    def receive(self) -> list[Message]:
        """The messages that have come, TEXT and BINARY ones; without waiting.

        Raises:
            Corrupt, LimitExceeded: the server sends what no server may.
        """
        found: list[Message] = [*self._messages()]  # what came together with the answer to the handshake
        if self.ended:
            return found
        try:
            data = self._socket.recv(CHUNK)
            self._reader.feed(data)
            while data and self._kept_back():
                self._reader.feed(self._socket.recv(CHUNK))
        except BlockingIOError:
            return found
        except OSError:
            data = b""
        if not data:
            self.ended = True
        found += self._messages()
        return found

    def alive(self) -> None:
        """Say that we are here (section 5.5.3), to a server that asks from time to time, when nothing is received for long."""
        self.send(PONG)

    def _kept_back(self) -> int:
        """Bytes that TLS has decrypted already, of which no wait for the descriptor would tell."""
        pending: object = getattr(self._socket, "pending", None)
        found: object = pending() if callable(pending) else 0
        return found if isinstance(found, int) else 0

    def close(self) -> None:
        """Say goodbye, as far as that is possible without waiting, and close. A repeat does nothing."""
        with contextlib.suppress(OSError, ValueError):
            self.send(CLOSE, struct.pack("!H", 1000))
        self.ended = True
        self._socket.close()

    def _messages(self) -> Iterator[Message]:
        for kind, payload in self._reader.messages():
            if kind == PING:
                self.send(PONG, payload)
            elif kind == CLOSE:
                self.send(CLOSE, payload[:2])
                self._closing = self.ended = True
                return
            elif kind in (TEXT, BINARY):
                yield kind, payload

    def _drop(self, sent: int) -> None:
        while sent:
            part = self._outgoing[0]
            if sent < len(part):
                self._outgoing[0] = part[sent:]
                return
            sent -= len(part)
            self._outgoing.popleft()


def upgrade(
    way: Way, target: str, timeout: float, headers: Mapping[str, str] | None = None
) -> WebSocket | Response:
    """Ask for a WebSocket; the answer when the server does not give one.

    Args:
        way: the path of a Unix socket, or what connects.
        target: path and query, quoted.
        timeout: seconds for the server to answer.
        headers: more of them.

    Raises:
        NobodyListens, Unreachable, DeadlineExceeded, Corrupt, LimitExceeded: as the connection goes.
    """
    wire = Wire(connect_by(way), timeout)
    try:
        wire.send(
            f"GET {target} HTTP/1.1\r\n{header_lines(headers)}Connection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n".encode("ascii")
        )
        return _opened(Response(wire))
    except BaseException:
        wire.close()
        raise


def _opened(answer: Response) -> WebSocket | Response:
    if answer.status != 101:
        return answer
    if answer.headers.get("sec-websocket-accept") != _ACCEPT:
        raise Corrupt("the daemon did not open a WebSocket", hint="is it a daemon of monocore?")
    return WebSocket(answer.wire)
