"""Maps of sparse files: old GNU (type ``S``) and GNU's PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, "Sparse Formats")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.layertar.events import Segment
from monocore_core.layertar.numbers import decimal, header_number
from monocore_core.layertar.window import BLOCK, Window

Pieces = Iterable[tuple[int, int]]

_GNU_FIRST = 386
_GNU_ENTRY = 24
_GNU_FIRST_COUNT = 4
_GNU_EXTENSION_COUNT = 21
_GNU_MORE = 482
_GNU_REAL_SIZE = slice(483, 495)
_EXTENSION_MORE = 504
#: Digits of a number in a PAX 1.0 map.
_LINE = 21


@frozen
class Map:
    """Where a sparse file's data is.

    Attributes:
        size: logical bytes of the file.
        position: of the tar at which the data begins.
        pieces: (offset, length) in the file, of the data in its order in the tar.
    """

    size: int
    position: int
    pieces: tuple[tuple[int, int], ...]

    def segments(self, stored: int) -> tuple[Segment, ...]:
        """Checked segments without empty ones.

        Args:
            stored: bytes of data in the tar, which the pieces must use up.

        Raises:
            Corrupt: pieces overlap, are out of order, reach beyond the file, or are not what is stored.
        """
        found: list[Segment] = []
        end, position = 0, self.position
        for offset, length in self.pieces:
            if offset < end or length < 0:
                raise Corrupt("the pieces of a sparse file overlap or are out of order")
            end = offset + length
            if end > self.size:
                raise Corrupt("a piece of a sparse file reaches beyond its end")
            if length:
                found.append(Segment(offset, length, position))
            position += length
        if position - self.position != stored:
            raise Corrupt(
                f"the pieces of a sparse file have {position - self.position} bytes, but {stored} are stored"
            )
        return tuple(found)


def gnu_map(header: bytes, window: Window, position: int, room: int) -> Map:
    """The map of a header of type ``S``, with the blocks that go on with it from ``position`` on.

    Raises:
        Corrupt: malformed or truncated.
        LimitExceeded: more than ``room`` pieces.
    """
    pieces = _gnu_pieces(header, _GNU_FIRST, _GNU_FIRST_COUNT)
    more = header[_GNU_MORE]
    while more:
        block = window.read(position, BLOCK)
        pieces += _gnu_pieces(block, 0, _GNU_EXTENSION_COUNT)
        check_room(len(pieces), room)
        more = block[_EXTENSION_MORE]
        position += BLOCK
    return Map(header_number(header[_GNU_REAL_SIZE]), position, tuple(pieces))


def _gnu_pieces(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    pieces: list[tuple[int, int]] = []
    for at in range(start, start + count * _GNU_ENTRY, _GNU_ENTRY):
        entry = block[at : at + _GNU_ENTRY]
        if not entry[12]:
            break
        pieces.append((header_number(entry[:12]), header_number(entry[12:])))
    return pieces


def pax_map(
    sparse: Mapping[bytes, bytes],
    pieces: tuple[tuple[int, int], ...],
    window: Window,
    position: int,
    bounds: tuple[int, int],
) -> Map:
    """The map that PAX records give; that of format 1.0 stands before the data.

    Args:
        sparse: the records without their prefix.
        pieces: of format 0.0.
        window: the tar.
        position: where the entry's data begins.
        bounds: most pieces, and most bytes of a map.

    Raises:
        Corrupt: malformed or truncated.
        LimitExceeded: beyond a bound.
        Unsupported: a format that we do not know.
    """
    version = (sparse.get(b"major", b"0"), sparse.get(b"minor", b"0"))
    size = decimal(sparse.get(b"realsize", sparse.get(b"size", b"")), "the size of a sparse file")
    if version == (b"1", b"0"):
        return _read_map(size, window, position, bounds)
    if version[0] != b"0" or version[1] not in {b"0", b"1"}:
        name = b".".join(version)[:20].decode("ascii", "backslashreplace")
        raise Unsupported(f"sparse format {name} is not known")
    if b"map" in sparse:
        numbers = [decimal(part, "a sparse map's entry") for part in sparse[b"map"].split(b",")]
        if len(numbers) % 2:
            raise Corrupt("the map of a sparse file is incomplete")
        pieces = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    check_room(len(pieces), bounds[0])
    return Map(size, position, pieces)


def _read_map(size: int, window: Window, position: int, bounds: tuple[int, int]) -> Map:
    """Decimal lines: the number of pieces, then offset and length of each; padded to a block."""
    room, most = bounds
    count, at = _line(window, position)
    check_room(count, room)
    numbers: list[int] = []
    for _ in range(count * 2):
        number, at = _line(window, at)
        numbers.append(number)
        if at - position > most:
            raise LimitExceeded(f"the map of a sparse file has more than {most} bytes")
    start = at + (position - at) % BLOCK
    return Map(size, start, tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def _line(window: Window, at: int) -> tuple[int, int]:
    block = window.block(at)
    end = block.find(b"\n", 0, _LINE)
    return decimal(block[: max(end, 0)], "a sparse map's line"), at + end + 1


def check_room(count: int, room: int) -> None:
    """Refuse more sparse pieces than there is room for.

    Raises:
        LimitExceeded: ``count`` is more than ``room``.
    """
    if count > room:
        raise LimitExceeded("the sparse files of the layer have too many pieces")
