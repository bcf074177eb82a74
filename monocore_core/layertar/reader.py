"""Reads a layer's tar: ustar, PAX, GNU and v7, sparse files included; see :func:`read_layer`.

Where tools differ, we read as Go's ``archive/tar`` does, since containerd and Docker read layers with it: what one finds in
an image must not depend on who looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from attrs import evolve

from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.layertar import header, pax, sparse
from monocore_core.layertar.events import Entry, EntryKind, LayerEvent, Segment
from monocore_core.layertar.header import KINDS, Fields, split, until_nul
from monocore_core.layertar.limits import DEFAULT_LIMITS, Limits
from monocore_core.layertar.numbers import Numbers, check_time, checksum_matches, header_number
from monocore_core.layertar.paths import AUFS, WHITEOUT, clean, marker, marks, shown
from monocore_core.layertar.pax import PLAIN
from monocore_core.layertar.window import BLOCK, Window

_SECOND = 1_000_000_000
_MAX_SIZE = (1 << 63) - 1
_MAX_ID = (1 << 32) - 1
_MAX_MAJOR = (1 << 12) - 1
_MAX_MINOR = (1 << 20) - 1
_NO_DEVICE = (0, 0)
_FILE, _DIRECTORY = EntryKind.FILE, EntryKind.DIRECTORY
_SYMLINK, _HARDLINK = EntryKind.SYMLINK, EntryKind.HARDLINK
_DEVICES = frozenset({EntryKind.CHARACTER, EntryKind.BLOCK})
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK = frozenset({b"x", b"X"}), b"g", b"L", b"K"


def read_layer(stream: BinaryIO, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[LayerEvent]:
    """What a layer's tar says, in its order.

    Args:
        stream: the uncompressed tar from its first byte on. When it can seek, data is sought over; otherwise it is read
            and dropped. It must not be moved while the events are taken.
        limits: bounds.

    Yields:
        Entries, whiteouts and opaque markers. Positions count from where the stream stood.

    Raises:
        Corrupt: malformed or truncated, or a path that climbs out of the root. The message names the entry and its byte.
        LimitExceeded: beyond ``limits``.
        Unsupported: a type of entry that layers do not have, named.
        OSError: the stream cannot be read.
    """
    return _Reader(stream, limits).events()


class _Reader:
    """The state between headers: what stands before an entry and describes it."""

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._limits = limits
        self._window = Window(stream)
        self._position = 0
        self._numbers = Numbers()
        self._globals: dict[bytes, bytes] = {}
        self._global = PLAIN
        self._extended = PLAIN
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._chained = 0
        self._metadata = limits.metadata
        self._segments = limits.segments

    def events(self) -> Iterator[LayerEvent]:
        """Every event; raises what :func:`read_layer` says."""
        left = self._limits.entries
        while True:
            start = self._position
            try:
                block = self._header()
                if block is None:
                    return
                event = self._next(block)
            except (Corrupt, LimitExceeded, Unsupported) as error:
                raise type(error)(f"tar header at byte {start}: {error.brief}", hint=error.hint) from error
            if event is None:
                continue
            if left == 0:
                raise LimitExceeded(f"the layer has more than {self._limits.entries} entries")
            left -= 1
            yield event

    def _header(self) -> bytes | None:
        """The next header, or None at the end of the archive."""
        block = self._window.block(self._position)
        if len(block) == BLOCK and block[0]:
            return block
        if not block.strip(b"\0"):
            after = self._window.block(self._position + BLOCK) if block else b""
            if after.strip(b"\0"):
                raise Corrupt("a single block of zeros stands between entries")
            if self._chained:
                raise Corrupt("the tar ends after an extended header, without its entry")
            return None
        if len(block) < BLOCK:
            raise Corrupt("the tar is truncated within a header")
        return block

    def _next(self, block: bytes) -> LayerEvent | None:
        """The event of a header; None when it only says something of the next entry, or nothing of the image."""
        fields = split(block)
        if not checksum_matches(block, self._numbers[fields[6]]):
            raise Corrupt("its checksum is wrong")
        self._position += BLOCK
        kind = KINDS.get(fields[7])
        if kind is None:
            self._describe(fields)
            return None
        name = header.full_name(block, fields)
        try:
            if self._chained or self._extended is not PLAIN:
                name = self._name(name)
            return self._entry(kind, name, block, fields)
        except (Corrupt, LimitExceeded, Unsupported) as error:
            raise type(error)(f"{shown(name)}: {error.brief}", hint=error.hint) from error

    def _describe(self, fields: Fields) -> None:
        """Take in a header that describes the entries after it."""
        flag, size = fields[7], self._numbers[fields[4]]
        if flag not in _EXTENDED and flag not in {_GLOBAL, _LONG_NAME, _LONG_LINK}:
            raise header.refuse(flag, fields)
        if not 0 <= size <= self._limits.extended:
            raise LimitExceeded(f"an extended header has {size} bytes, more than {self._limits.extended}")
        self._charge(size)
        self._chained += 1
        if self._chained > self._limits.chained:
            raise LimitExceeded(f"more than {self._limits.chained} extended headers follow one another")
        data = self._window.read(self._position, size)
        self._position += _padded(size)
        if flag == _LONG_NAME:
            self._long_name = until_nul(data)
        elif flag == _LONG_LINK:
            self._long_link = until_nul(data)
        elif flag == _GLOBAL:
            pax.merge(data, self._globals)
            self._charge_globals()
            self._global = self._extended = pax.interpret(self._globals, (), self._limits)
        else:
            found = dict(self._globals)
            pieces = pax.merge(data, found)
            self._extended = pax.interpret(found, pieces, self._limits)

    def _charge(self, size: int) -> None:
        self._metadata -= size
        if self._metadata < 0:
            raise LimitExceeded(f"the layer has more than {self._limits.metadata} bytes of extended headers")

    def _charge_globals(self) -> None:
        if sum(len(key) + len(value) for key, value in self._globals.items()) > self._limits.extended:
            raise LimitExceeded(f"its global headers have more than {self._limits.extended} bytes")

    def _name(self, name: bytes) -> bytes:
        """The name that the headers before an entry give it, ``name`` when they give none."""
        if self._extended.path is not None:
            name = self._extended.path
        if self._long_name is not None:
            name = self._long_name
        return self._extended.sparse.get(b"name", name)

    def _entry(self, kind: EntryKind, name: bytes, block: bytes, fields: Fields) -> LayerEvent | None:
        """The event of an entry, with the position moved behind its data."""
        extended = self._extended
        size = self._numbers[fields[4]] if extended.size is None else extended.size
        position, logical, segments = self._position, 0, None
        if kind is _FILE and not (name.endswith(b"/") and (fields[7] == b"\0" or not size)):
            if not 0 <= size <= _MAX_SIZE:
                raise Corrupt(f"its size, {size}, is not possible")
            logical = size
            if fields[7] == b"S" or extended.sparse or extended.pieces:
                logical, segments = self._sparse(block, fields, size)
                position = 0
            elif size:
                self._skip(position, size)
        elif kind is _FILE:
            kind = _DIRECTORY  # as v7 tars, which know no folders, spell them
        elif kind is _HARDLINK and size:
            self._skip(position, self._link_data(size))
        path = clean(name, self._limits)
        event = (
            marker(path)
            if WHITEOUT in path and marks(path)
            else self._plain(kind, path, fields, logical, position)
        )
        if segments is not None and isinstance(event, Entry):
            event = evolve(event, segments=segments)
        if self._chained:
            self._forget()
        return event

    def _forget(self) -> None:
        """What stood before an entry holds for it alone."""
        self._extended = self._global
        self._long_name = self._long_link = None
        self._chained = 0

    def _plain(self, kind: EntryKind, path: bytes, fields: Fields, size: int, position: int) -> Entry:
        if not path and kind is not _DIRECTORY:
            raise Corrupt(f"the root cannot be a {kind.value}")
        extended, numbers = self._extended, self._numbers
        uid = numbers[fields[2]] if extended.uid is None else extended.uid
        gid = numbers[fields[3]] if extended.gid is None else extended.gid
        if not (0 <= uid <= _MAX_ID and 0 <= gid <= _MAX_ID):
            raise Corrupt(f"its owner, {uid}:{gid}, is not possible")
        mtime = extended.mtime_ns
        if mtime is None:
            mtime = check_time(numbers[fields[5]] * _SECOND)
        link, device = b"", _NO_DEVICE
        if kind is _SYMLINK or kind is _HARDLINK:
            link = self._link(kind, fields)
        elif kind in _DEVICES:
            device = self._device(fields)
        return Entry(
            path,
            kind,
            numbers[fields[1]] & 0o7777,
            uid,
            gid,
            mtime,
            size,
            position if kind is _FILE else 0,
            None,
            link,
            device,
            extended.xattrs,
        )

    def _link(self, kind: EntryKind, fields: Fields) -> bytes:
        link = self._extended.link
        if self._long_link is not None:
            link = self._long_link
        if link is None:
            link = until_nul(fields[8])
        if kind is _SYMLINK:
            if not link:
                raise Corrupt("it is a symlink without a target")
            if len(link) > self._limits.path:
                raise LimitExceeded(f"its target has {len(link)} bytes, more than {self._limits.path}")
            return link
        target = clean(link, self._limits)
        if not target:
            raise Corrupt("it is a hard link to the root")
        if marks(target):
            if target.startswith(AUFS):
                raise Unsupported("it is a hard link into what aufs kept for itself")
            raise Corrupt(f"it is a hard link to the whiteout {shown(target)}")
        return target

    def _device(self, fields: Fields) -> tuple[int, int]:
        device = (self._numbers[fields[10]], self._numbers[fields[11]])
        if not (0 <= device[0] <= _MAX_MAJOR and 0 <= device[1] <= _MAX_MINOR):
            raise Unsupported(f"Linux has no device {device[0]}:{device[1]}")
        return device

    def _skip(self, position: int, size: int) -> None:
        """Move behind data, which must be there; its padding need not be, at the very end."""
        self._window.require(position + size)
        self._position = position + _padded(size)

    def _sparse(self, block: bytes, fields: Fields, size: int) -> tuple[int, tuple[Segment, ...]]:
        """Logical size and segments of a sparse file; ``size`` bytes are stored."""
        start, extended = self._position, self._extended
        if fields[7] == b"S":
            found = sparse.gnu_map(block, self._window, start, self._segments)
            stored = size
        else:
            bounds = (self._segments, self._limits.extended)
            found = sparse.pax_map(extended.sparse, extended.pieces, self._window, start, bounds)
            stored = size - (found.position - start)
        if not 0 <= found.size <= _MAX_SIZE:
            raise Corrupt(f"its size, {found.size}, is not possible")
        segments = found.segments(stored)
        self._segments -= len(found.pieces)
        self._charge(found.position - start)
        self._skip(found.position, stored)
        return found.size, segments

    def _link_data(self, size: int) -> int:
        """Bytes of data behind a hard link whose header gives a size.

        POSIX ustar says there are none whatever the header says, and so reads Go; PAX says there are.
        """
        if not 0 <= size <= _MAX_SIZE:
            raise Corrupt(f"its size, {size}, is not possible")
        block = self._window.block(self._position)
        if len(block) == BLOCK and self._is_header(block):
            return 0
        if not block.strip(b"\0"):
            return 0
        return size

    def _is_header(self, block: bytes) -> bool:
        try:
            return checksum_matches(block, header_number(split(block)[6]))
        except Corrupt:
            return False


def _padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return size + -size % BLOCK
