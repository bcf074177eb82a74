"""HTTP/1.1 on a socket (RFC 9112), as much of it as one request on each connection needs. Everything that is read is bounded.

``http.client`` takes longer to import than a daemon to answer, and so does ``socket``, of which a Unix socket needs the half that is written in C.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

from monocore_core.errors import Corrupt, DeadlineExceeded, LimitExceeded, Unauthorized, Unreachable
from monocore_core.hostcalls.paths import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

#: Longest path that a ``sockaddr_un`` holds everywhere, bytes.
MAX_PATH = 103
#: Bytes of one line of a head, and lines of it.
MAX_LINE, MAX_HEADERS = 16 * 1024, 128
#: Bytes of a body that is read whole, and of one line of one that is not.
MAX_BODY, MAX_NDJSON = 64 * 1024 * 1024, 8 * 1024 * 1024
#: Bytes asked of the socket at once.
CHUNK = 256 * 1024
#: Seconds that a daemon which listens may take to accept.
CONNECTING = 30.0
#: The path of a Unix socket, or what connects elsewhere.
Way = str | Callable[[], _socket.socket]
#: What a request is for, where no host is named.
HOST = "monocore"
_HEX = frozenset(b"0123456789abcdefABCDEF")


class NobodyListens(Unreachable):
    """There is no daemon at the socket."""


class NotTaken(Unreachable):
    """The daemon at a Unix socket was gone before it had read what it was sent: it has done nothing of that.

    Until a process has ended, its socket takes connections; what was sent there and not read makes the kernel say so (``EPIPE``, ``ECONNRESET``), which what was read
    does not.
    """


def connect(path: str) -> _socket.socket:
    """Connect to a Unix socket, whose path may be longer than an address can be.

    Raises:
        NobodyListens: nobody listens there.
        Unreachable: it cannot be connected to.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECTING)
        with _short(path) as name:
            sock.connect(name)
        sock.settimeout(None)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise _unconnected(path, error) from error
        raise
    return sock


def connect_by(way: Way) -> _socket.socket:
    """Connect, whichever way it is.

    Raises:
        NobodyListens, Unreachable: as :func:`connect`; of another way what it raises.
    """
    return connect(way) if isinstance(way, str) else way()


def _unconnected(path: str, error: OSError) -> Unreachable:
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        return NobodyListens(f"no daemon listens at {path}", hint="monocore serve starts one")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unreachable(
            f"the daemon's socket {path} is another user's", hint="name a home of yours: --home"
        )
    reason = (
        "it does not accept connections" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)
    )
    return Unreachable(f"the daemon at {path} cannot be reached: {reason}")


@contextlib.contextmanager
def _short(path: str) -> Generator[str]:
    """A name for ``path`` that fits."""
    if len(os.fsencode(path)) <= MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    with short(folder) as prefix:
        yield f"{prefix}/{name}"


class Wire:
    """A connected socket, and what has come but was not asked for yet.

    Attributes:
        socket: connected.
    """

    def __init__(self, sock: _socket.socket, timeout: float | None = None) -> None:
        self.socket = sock
        self._local = sock.family == _socket.AF_UNIX
        self._buffer = bytearray()
        sock.settimeout(timeout)

    def close(self) -> None:
        """Close the connection. A repeat does nothing."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            Unreachable: the other end is gone. DeadlineExceeded: it does not take it.
        """
        with _explained(local=self._local):
            self.socket.sendall(data)

    def some(self, limit: int = CHUNK) -> bytes:
        """At least a byte, at most ``limit``; ``b""`` at the end."""
        if not self._buffer:
            with _explained(local=self._local):
                return self.socket.recv(limit)
        found = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return found

    def line(self, limit: int = MAX_LINE) -> bytes:
        """A line without its end, which is LF, or CR LF.

        Raises:
            LimitExceeded: it is too long. Unreachable: the connection ended before its end.
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > limit:
                raise LimitExceeded(f"the daemon sent a line of more than {limit} bytes")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def rest(self) -> bytes:
        """What has come already, taken out."""
        found = bytes(self._buffer)
        self._buffer.clear()
        return found

    def _more(self) -> None:
        with _explained(local=self._local):
            data = self.socket.recv(CHUNK)
        if not data:
            raise closed_early(secure=hasattr(self.socket, "pending"))
        self._buffer += data


class Response:
    """An answer whose body is still to be read. A context manager, which closes the connection.

    Attributes:
        status: a number of three digits.
        headers: by name in lower case; of several with one name the last.
        wire: the connection.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.status = _status(wire.line())
        self.headers: Mapping[str, str] = _headers(wire)
        while 100 <= self.status < 200 and self.status != 101:
            self.status = _status(wire.line())
            self.headers = _headers(wire)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever was not read. A repeat does nothing."""
        self.wire.close()

    def chunks(self) -> Generator[bytes]:
        """The body in pieces, as they come.

        Raises:
            Unreachable: the connection ended before the body. Corrupt: its framing is malformed.
        """
        if self.status in (204, 304):
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
        elif "content-length" in self.headers:
            yield from self._counted(_length(self.headers["content-length"], 10))
        else:
            while data := self.wire.some():
                yield data

    def read(self, limit: int = MAX_BODY) -> bytes:
        """The body.

        Raises:
            LimitExceeded: it is larger than ``limit`` bytes; and what :meth:`chunks` raises.
        """
        found = bytearray()
        for chunk in self.chunks():
            found += chunk
            if len(found) > limit:
                raise LimitExceeded(f"the daemon's answer is larger than {limit} bytes")
        return bytes(found)

    def lines(self, limit: int = MAX_NDJSON) -> Iterator[bytes]:
        """The lines of the body that are not empty, as they come.

        Raises:
            LimitExceeded: a line is longer than ``limit`` bytes; and what :meth:`chunks` raises.
        """
        kept = bytearray()
        for chunk in self.chunks():
            kept += chunk
            *whole, rest = kept.split(b"\n") if b"\n" in chunk else [kept]
            yield from (bytes(line) for line in whole if line.strip())
            kept = bytearray(rest)
            if len(kept) > limit:
                raise LimitExceeded(f"the daemon sent a line of more than {limit} bytes")
        if kept.strip():
            yield bytes(kept)

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            data = self.wire.some(min(left, CHUNK))
            if not data:
                raise Unreachable("the daemon closed the connection in the middle of an answer")
            left -= len(data)
            yield data

    def _chunked(self) -> Iterator[bytes]:
        while size := _length(self.wire.line().partition(b";")[0].strip().decode("ascii", "replace"), 16):
            yield from self._counted(size)
            if self.wire.line():
                raise Corrupt("the daemon's answer is malformed: a chunk is longer than it says")
        _headers(self.wire)  # trailers


def exchange(
    way: Way,
    method: str,
    target: str,
    *,
    body: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Response:
    """Send one request on a connection of its own and give the answer, whose body is still to be read.

    Args:
        way: the path of a Unix socket, or what connects.
        method: ``GET``, ``POST`` …
        target: path and query, quoted.
        body: bytes, or pieces of which nobody knows yet how many there are.
        headers: more of them.
        timeout: seconds that the daemon may be silent, or None.

    Raises:
        NobodyListens, Unreachable, DeadlineExceeded, LimitExceeded, Corrupt: as the connection goes.
    """
    wire = Wire(connect_by(way), timeout)
    try:
        framing = f"Content-Length: {len(body)}" if isinstance(body, bytes) else "Transfer-Encoding: chunked"
        head = f"{method} {target} HTTP/1.1\r\n{header_lines(headers)}{framing}\r\n\r\n".encode("ascii")
        if isinstance(body, bytes):
            wire.send(head + body)
        else:
            with contextlib.suppress(
                Unreachable
            ):  # it has answered before the end: that it does not want more
                wire.send(head)
                _send_chunks(wire, body)
        return Response(wire)
    except BaseException:
        wire.close()
        raise


def header_lines(headers: Mapping[str, str] | None) -> str:
    """The lines of a head; of a Unix socket, which has no name, its host is ours."""
    return "".join(f"{name}: {value}\r\n" for name, value in {"Host": HOST, **(headers or {})}.items())


def _send_chunks(wire: Wire, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        if chunk:
            wire.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    wire.send(b"0\r\n\r\n")


def _status(line: bytes) -> int:
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
        raise Corrupt(
            "what listens at the daemon's socket does not speak HTTP", hint="is it a daemon of monocore?"
        )
    return int(words[1])


def _headers(wire: Wire) -> dict[str, str]:
    found: dict[str, str] = {}
    for _ in range(MAX_HEADERS + 1):
        line = wire.line()
        if not line:
            return found
        name, colon, value = line.partition(b":")
        if not colon:
            raise Corrupt("the daemon's answer is malformed: a header has no colon")
        found[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    raise LimitExceeded(f"the daemon's answer has more than {MAX_HEADERS} headers")


def _length(text: str, base: int) -> int:
    if not text or len(text) > 16 or not set(text.encode("latin-1", "replace")) <= _HEX:
        raise Corrupt("the daemon's answer is malformed: a length is no number")
    try:
        return int(text, base)
    except ValueError as error:
        raise Corrupt("the daemon's answer is malformed: a length is no number") from error


@contextlib.contextmanager
def _explained(*, local: bool) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DeadlineExceeded(
            "the daemon does not answer", hint="its log is daemon.log in its home folder"
        ) from error
    except OSError as error:
        refused = certificate_refused(error)
        kind = NotTaken if local and error.errno in (errno.EPIPE, errno.ECONNRESET) else Unreachable
        raise refused or kind(f"the connection to the daemon was lost: {error.strerror or error}") from error


def closed_early(*, secure: bool) -> Unreachable:
    """There was an end instead of an answer. A daemon that does not take our certificate may say no more: asyncio sends no alert.

    Args:
        secure: whether the connection was one of TLS.
    """
    hint = (
        "where it wants certificates of clients (tls_client_ca), give one that it trusts: MONOCORE_TLS_CERT"
        if secure
        else None
    )
    return Unreachable("the daemon closed the connection before it had answered", hint=hint)


def certificate_refused(error: OSError) -> Unauthorized | None:
    """What an alert of TLS (RFC 8446, section 6.2) means that is about the client's certificate; it may come with the first answer.

    Told by its name, so that ``ssl`` need not be imported.
    """
    reason: object = getattr(error, "reason", None)
    if not isinstance(reason, str) or "ALERT" not in reason:
        return None
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        brief = "the daemon wants a certificate of its client's, and none was given"
    elif "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        word = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
        brief = f"the daemon does not take the certificate that was given: {word}"
    else:
        return None
    return Unauthorized(
        brief,
        hint="one that an authority of its tls_client_ca has signed: MONOCORE_TLS_CERT and MONOCORE_TLS_KEY",
    )
