"""Bodies of FILE requests, and the records that answer them (``docs/guest-protocol.md``). Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import Final

from attrs import field, frozen

from monocore_core.errors import GuestError, InvalidInput
from monocore_core.guest.wire import fields, number, put
from monocore_core.model.guestfile import ChangeKind, FileChange, FileEntry, FileOwner, file_kind

#: Bytes of a path, its NUL not counted, that Linux takes.
MAX_PATH: Final = 4095
#: Most entries of one page.
MAX_PAGE: Final = 10_000
#: Most records of one answer: entries, and where the next page begins.
MAX_RECORDS: Final = MAX_PAGE + 1
#: Bytes of an entry's name: no file system of Linux's has longer ones.
MAX_NAME: Final = 1024
#: Most bytes of one record: a name, numbers, a link's target.
MAX_RECORD: Final = 16 * 1024
#: Most bytes of a page's records; the agent ends a page at 4 MiB.
MAX_ANSWER: Final = 5 * 1024 * 1024

_FIELD = struct.Struct("<HI")


class Act(IntEnum):
    """What a FILE request does."""

    STAT = 1
    LIST = 2
    MAKE_FOLDER = 3
    MOVE = 4
    REMOVE = 5
    READ = 6
    WRITE = 7
    WATCH = 8


class Flag(IntFlag):
    """How it does it."""

    FOLLOW = 1
    PARENTS = 2
    REPLACE = 4
    RECURSIVE = 8
    CREATE = 16
    NEW = 32
    TRUNCATE = 64
    APPEND = 128


_CHANGES: Final = {
    1: ChangeKind.CREATED,
    2: ChangeKind.DELETED,
    3: ChangeKind.MODIFIED,
    4: ChangeKind.ATTRIBUTES,
    5: ChangeKind.MOVED_FROM,
    6: ChangeKind.MOVED_TO,
    7: ChangeKind.OVERFLOW,
    8: ChangeKind.ENDED,
    9: ChangeKind.WRITTEN,
}


@frozen
class FileRequest:
    """A FILE request's fields; see the protocol for which act uses which."""

    act: Act
    path: str
    flags: Flag = field(default=Flag(0))
    target: str | None = None
    mode: int | None = None
    owner: FileOwner | None = None
    offset: int = 0
    length: int | None = None
    after: str = ""
    limit: int | None = None

    def encode(self) -> bytes:
        """The body.

        Raises:
            InvalidInput: a path, mode, owner, offset or limit is out of range.
        """
        owner = self.owner or FileOwner()
        parts = [put(1, int(self.act)), put(2, _path(self.path))]
        if self.target is not None:
            parts.append(put(3, _path(self.target)))
        if self.flags:
            parts.append(put(4, int(self.flags)))
        parts += [
            _number(tag, name, value, most)
            for tag, name, value, most in (
                (5, "mode", self.mode, 0o7777),
                (6, "owner", owner.uid, 2**32 - 2),
                (7, "group", owner.gid, 2**32 - 2),
                (8, "offset", self.offset or None, 2**63 - 1),
                (9, "length", self.length, 2**63 - 1),
                (11, "page size", self.limit, MAX_PAGE),
            )
            if value is not None
        ]
        if self.after:
            parts.append(put(10, _raw(self.after, 255, "a name")))
        return b"".join(parts)


def _number(tag: int, name: str, value: int, most: int) -> bytes:
    if not 0 <= value <= most:
        raise InvalidInput(f"{name} {value} is out of range: 0 to {most}")
    return put(tag, value)


def _path(path: str) -> bytes:
    raw = _raw(path, MAX_PATH, "a path")
    if not raw.startswith(b"/"):
        raise InvalidInput(f"path {path[:80]!r} is not absolute")
    return raw


def _raw(text: str, most: int, what: str) -> bytes:
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text[:80]!r} is not {what}: it holds half a character") from error
    if len(raw) > most or b"\0" in raw:
        raise InvalidInput(f"{text[:80]!r} is not {what}: more than {most} bytes, or a NUL in it")
    return raw


class RecordDecoder:
    """Bytes of an answer in, records out: a field's tag and value each. Holds less than a record."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What is complete by now.

        Raises:
            GuestError: a record is absurdly long.
        """
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= _FIELD.size:
                tag, length = _FIELD.unpack_from(self._buffer, at)
                if length > MAX_RECORD:
                    raise _broken(f"a record of {length} bytes")
                end = at + _FIELD.size + length
                if len(self._buffer) < end:
                    return
                value, at = bytes(self._buffer[at + _FIELD.size : end]), end
                yield tag, value
        finally:
            del self._buffer[:at]

    def finish(self) -> None:
        """No more will come.

        Raises:
            GuestError: a record is cut off.
        """
        if self._buffer:
            raise _broken("a record is cut off")


def decode_entry(record: bytes, name: str | None = None) -> FileEntry:
    """An entry; ``name`` replaces what the guest calls it.

    Raises:
        GuestError: it is malformed, or its name could be none in a folder.
    """
    values = dict(fields(record))
    raw, target = values.pop(1, b""), values.pop(10, None)
    if name is None:
        name = _name(raw)
    numbers = [number(values.get(tag, bytes(8))) for tag in range(2, 10)]
    mode, size, uid, gid, modified, links, inode, device = numbers
    if mode < 0 or min(size, uid, gid, links) < 0:
        raise _broken("an entry's numbers are negative")
    return FileEntry(
        name=name,
        kind=file_kind(mode & 0xFFFF),
        mode=mode & 0o7777,
        size=size,
        uid=uid,
        gid=gid,
        modified_ns=modified,
        links=links,
        inode=inode & 2**64 - 1,
        device=device & 2**64 - 1,
        target=None if target is None else _decode(target),
    )


def decode_change(record: bytes) -> FileChange | None:
    """A change; None says that watching has begun.

    Raises:
        GuestError: it is malformed.
    """
    values = dict(fields(record))
    path = values.pop(2, b"")
    what, cookie, folder = (number(values.get(tag, bytes(8))) for tag in (1, 3, 4))
    if what == 0:
        return None
    if what not in _CHANGES or path.startswith(b"/") or b"\0" in path:
        raise _broken(f"a change of kind {what}")
    return FileChange(_CHANGES[what], _decode(path), bool(folder), cookie)


def decode_name(record: bytes, after: str) -> str:
    """A name alone: where the next page begins.

    Raises:
        GuestError: it is none, or not behind the one after which this page began, so that pages would have no end.
    """
    name = _name(record)
    if record <= _raw(after, MAX_NAME, "a name"):
        raise _broken("a page of entries is followed by itself, or one before")
    return name


def _name(raw: bytes) -> str:
    if raw in {b"", b".", b".."} or b"/" in raw or b"\0" in raw or len(raw) > MAX_NAME:
        raise _broken("an entry's name is none")
    return _decode(raw)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _broken(what: str) -> GuestError:
    return GuestError(f"the guest agent broke the protocol: {what}")
