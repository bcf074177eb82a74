"""Requests to the daemon: tables in, tables out, and its problems as errors of ours."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

from monocore_core import __version__, errors
from monocore_core.client.connection import NotTaken, Response, Way, exchange
from monocore_core.client.tables import NOTHING, Table, parse_table, text, texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from monocore_core.client.websocket import WebSocket

    _A = TypeVar("_A")

#: Seconds for what the daemon answers at once.
PROMPT = 60.0
#: Bytes of a problem document, and of the answer to one request.
MAX_PROBLEM, MAX_ANSWER = 1024 * 1024, 64 * 1024 * 1024
#: Seconds that a daemon which ends may take, and between two looks whether it has.
ENDING, _LOOK = 10.0, 0.05
#: The header by which the daemon says which version it is.
VERSION_HEADER = "monocore-version"
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_Parameter = str | int | float | bool | None


def quote(word: str) -> str:
    """A part of a path, or of a query, percent-encoded (RFC 3986)."""
    encoded = word.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in encoded)


def target(*parts: str, **parameters: _Parameter | Iterable[str]) -> str:
    """``/v1/part/part?name=value``. A parameter that is None or False is left out, one that is True is 1, a list is repeated."""
    pairs: list[str] = []
    for name, value in parameters.items():
        if value is None or value is False:
            continue
        several = [str(int(value))] if isinstance(value, bool) else [str(value)]
        if isinstance(value, Iterable) and not isinstance(value, str):
            several = list(value)
        pairs += [f"{name}={quote(one)}" for one in several]
    path = "/v1/" + "/".join(map(quote, parts))
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def problem(table: Table, status: int = 500) -> errors.MonocoreError:
    """The error that a problem document (RFC 9457) tells of."""
    brief = text(table, "detail") or text(table, "title") or f"the daemon answered with status {status}"
    hint = text(table, "hint") or None
    kind: object = getattr(errors, text(table, "title"), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.MonocoreError)):
        return errors.MonocoreError(brief, hint=hint)
    if issubclass(kind, errors.ConfigError):
        return kind(brief, problems=tuple(texts(table, "problems")), hint=hint)
    if issubclass(kind, errors.NothingFits):
        return kind(brief, reasons=tuple(texts(table, "reasons")), hint=hint)
    return kind(brief, hint=hint)


class Api:
    """The daemon at one socket.

    Args:
        path: of the socket; or what connects to a daemon elsewhere.
        other_version: called once with the version of a daemon that is of another one.
        headers: sent with every request.
        explain: makes of an error of a request, before its answer, one that says more.
        again: sees to it that a daemon listens, after the one that did has gone without reading a request, which is then sent again.
    """

    def __init__(
        self,
        path: Way,
        other_version: Callable[[str], None] | None = None,
        headers: Mapping[str, str] | None = None,
        explain: Callable[[errors.MonocoreError], errors.MonocoreError] | None = None,
        again: Callable[[], None] | None = None,
    ) -> None:
        self.path = path
        self._headers = dict(headers or {})
        self._other_version = other_version
        self._explain = explain
        self._again = again

    def call(
        self,
        method: str,
        where: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout: float | None = PROMPT,
    ) -> Table:
        """Send a table, or nothing, and give the answer; an empty table when there is none.

        Args:
            method: ``GET``, ``POST`` …
            where: see :func:`target`.
            body: is sent as JSON.
            timeout: seconds that the daemon may take, or None for what takes as long as it takes.

        Raises:
            MonocoreError: what the daemon says; Unreachable and others of :func:`.connection.exchange`.
        """
        with self.open(method, where, body, timeout=timeout) as answer:
            data = answer.read(MAX_ANSWER)
        return parse_table(data) if data.strip() else {}

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        where: str,
        body: Mapping[str, object] | Iterable[bytes] | None = None,
        *,
        timeout: float | None = None,
        content_type: str = "application/json",
    ) -> Generator[Response]:
        """An answer that is good, whose body is still to be read.

        Args:
            method: ``GET``, ``POST`` …
            where: see :func:`target`.
            body: a table, sent as JSON, or pieces of bytes.
            timeout: seconds that the daemon may be silent, or None.
            content_type: of pieces.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        headers = dict(self._headers)
        data: bytes | Iterable[bytes] = b""
        if isinstance(body, Mapping):
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif body is not None:
            data, headers["Content-Type"] = body, content_type

        def ask() -> Response:
            return exchange(self.path, method, where, body=data, headers=headers, timeout=timeout)

        with self._answered(ask, whole=isinstance(data, bytes)) as answer:
            yield answer

    def tables(self, method: str, where: str, body: Mapping[str, object] | None = None) -> Iterator[Table]:
        """The lines of an answer of NDJSON, as they come.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        with self.open(method, where, body) as answer:
            for line in answer.lines():
                yield parse_table(line)

    def websocket(self, where: str, first: Table | None = None) -> WebSocket:
        """A WebSocket, on which a first message was sent if there is one.

        Raises:
            MonocoreError: as :meth:`call`.
        """
        from monocore_core.client.websocket import TEXT, WebSocket, upgrade  # noqa: PLC0415 - most commands need none

        with self._explained():
            answer = self._asked(lambda: upgrade(self.path, where, PROMPT, self._headers))
            if isinstance(answer, WebSocket):
                if first is not None:
                    answer.send(TEXT, json.dumps(first).encode())
                return answer
            with answer:
                raise _refusal(answer)

    @contextlib.contextmanager
    def _answered(self, ask: Callable[[], Response], *, whole: bool) -> Generator[Response]:
        """A good answer; ``whole``: it can be asked for again."""
        with self._explained():
            answer = self._asked(ask) if whole else ask()
        with answer:
            self._compare(answer)
            if answer.status >= 400:
                with self._explained():
                    raise _refusal(answer)
            yield answer

    def _asked(self, ask: Callable[[], _A]) -> _A:
        """What a daemon answers; the next one, when this one is just ending."""
        until = 0.0
        while True:
            try:
                return ask()
            except NotTaken:
                now = time.monotonic()
                until = until or now + ENDING
                if self._again is None or now > until:
                    raise
            time.sleep(_LOOK)
            self._again()

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except errors.MonocoreError as error:
            if self._explain is None:
                raise
            raise self._explain(error) from error

    def _compare(self, answer: Response) -> None:
        version = answer.headers.get(VERSION_HEADER)
        tell, self._other_version = self._other_version, None
        if tell is not None and version is not None and version != __version__:
            tell(version)


def _refusal(answer: Response) -> errors.MonocoreError:
    data = answer.read(MAX_PROBLEM)
    try:
        table = parse_table(data)
    except errors.Corrupt:
        table = NOTHING
    return problem(table, answer.status)
