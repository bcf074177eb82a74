"""Decompression of a layer or an archive, step by step, with the output of every step bounded.

The format is told by the first bytes, as every container engine does: the media type of real images is not always right, and
both digests are verified anyway. gzip may have several members (RFC 1952, 2.2) and zero padding behind the last; zstd several
frames, skippable ones included (RFC 8878, 3.1). Anything else behind the end is refused.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Protocol

from monocore_core.errors import Corrupt, LimitExceeded

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

try:
    _zlib = importlib.import_module("isal.isal_zlib")
except ImportError:  # a machine that isal has no wheel for
    _zlib = importlib.import_module("zlib")

#: Most bytes that one step gives.
BLOCK = 2 * 1024 * 1024

_ZEROS = bytes(BLOCK)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable frame's magic number; byte 0 is 0x50 to 0x5f."""
_MAGIC_LENGTH = 4
_GZIP_WBITS = 31
#: Most gzip members or zstd frames of one layer. eStargz makes one a file, so it is generous; each costs microseconds.
MAX_MEMBERS = 1_000_000
_MANY, _SMALL_WINDOW = 64, 64 * 1024


def keep_memory() -> None:
    """Have freed blocks' memory kept for the next ones: given back to the kernel, its pages are cleared anew each time, which takes as long as inflating.

    glibc gives back what is larger than a threshold, and raises that, once, to the size of what it gives back (mallopt(3), M_MMAP_THRESHOLD).
    Other C libraries are not told anything.
    """
    bytes(8 * BLOCK)


def is_zeros(block: bytes | memoryview) -> bool:
    """Whether it is a whole block of zeros, which may become a hole of a file. A view is one of what is as large as a block."""
    whole = block.obj if isinstance(block, memoryview) else block  # views would be compared byte by byte
    return len(block) == BLOCK and whole == _ZEROS


class Inflater(Protocol):
    """Turns compressed bytes into blocks."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Blocks that ``data`` completes, each non-empty and at most :data:`BLOCK` bytes. Must be exhausted.

        Raises:
            Corrupt: the data is not what it should be.
        """
        ...

    def finish(self) -> None:
        """Nothing more comes.

        Raises:
            Corrupt: something is missing.
        """
        ...


class _GzipStream(Protocol):
    """What zlib and isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class PlainInflater:
    """For a tar that is not compressed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Inflater`."""
        for start in range(0, len(data), BLOCK):
            yield data[start : start + BLOCK]

    def finish(self) -> None:
        """Any length is complete."""


class _Concatenated:
    """A stream of members or frames, each of which says where it ends."""

    kind = ""

    def __init__(self) -> None:
        self._count = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Inflater`."""
        position = 0
        while position < len(data):
            # What follows a member is copied to become the next one's input: with many small ones that must be little.
            window = len(data) if self._count < _MANY else _SMALL_WINDOW
            piece = data[position : position + window]
            position += len(piece)
            yield from self._feed(piece)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        raise NotImplementedError

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise LimitExceeded(f"it has more than {MAX_MEMBERS} {self.kind} streams")


class GzipInflater(_Concatenated):
    """For gzip."""

    kind = "gzip"

    def __init__(self) -> None:
        super().__init__()
        self._stream: _GzipStream | None = None

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            stream = self._stream
            if stream is None:
                data = self._skip_padding(data)
                if not data:
                    return
                self._begin()
                stream = self._stream = _gzip_stream()
            block = _inflate(stream, data)
            if block:
                yield block
            data = stream.unconsumed_tail
            while block and not stream.eof and not data:  # it may hold output although it has taken all input
                block = _inflate(stream, b"")
                if block:
                    yield block
            if stream.eof:
                data, self._stream = stream.unused_data, None

    def _skip_padding(self, data: bytes) -> bytes:
        if self._count == 0:
            return data
        rest = data.lstrip(b"\0")
        if rest[:1] not in {b"", _GZIP[:1]}:
            raise Corrupt("its gzip data is followed by something else")
        return rest

    def finish(self) -> None:
        """See :class:`Inflater`."""
        if self._stream is not None or self._count == 0:
            raise Corrupt("its gzip data ends early")


def _gzip_stream() -> _GzipStream:
    stream: _GzipStream = _zlib.decompressobj(_GZIP_WBITS)
    return stream


def _inflate(stream: _GzipStream, data: bytes) -> bytes:
    try:
        return stream.decompress(data, BLOCK)
    except _zlib.error as error:
        raise Corrupt(f"its gzip data is damaged: {error}") from error


class ZstdInflater(_Concatenated):
    """For zstd."""

    kind = "zstd"

    def __init__(self) -> None:
        super().__init__()
        self._frame: ZstdDecompressor | None = None

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data or self._frame is not None:
            if self._frame is None:
                self._begin()
                self._frame = ZstdDecompressor()
            frame = self._frame
            try:
                block = frame.decompress(data, BLOCK)
            except ZstdError as error:
                raise Corrupt(f"its zstd data is damaged: {error}") from error
            data = b""
            if block:
                yield block
            if frame.eof:
                data, self._frame = frame.unused_data, None
            elif frame.needs_input:
                return

    def finish(self) -> None:
        """See :class:`Inflater`."""
        if self._frame is not None or self._count == 0:
            raise Corrupt("its zstd data ends early")


class SniffingInflater:
    """Looks at the first bytes, then does as the format's own inflater.

    Attributes:
        what: it takes, for people.
        head: bytes that tell the format.
    """

    what = "a tar"
    head = _MAGIC_LENGTH

    def __init__(self) -> None:
        self._begun = b""
        self._inner: Inflater | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Inflater`."""
        if self._inner is None:
            data = self._begun + data
            if len(data) < self.head:
                self._begun = data
                return
            self._inner = self.choose(data)
        yield from self._inner.feed(data)

    def finish(self) -> None:
        """See :class:`Inflater`."""
        if self._inner is None:
            raise Corrupt(f"it is too short to be {self.what}")
        self._inner.finish()

    def choose(self, head: bytes) -> Inflater:
        """What decompresses that which begins so. Pure."""
        kind = layer_compression(head)
        return GzipInflater() if kind == "gzip" else ZstdInflater() if kind == "zstd" else PlainInflater()


def layer_compression(head: bytes) -> str:
    """``gzip`` or ``zstd``, told by the first bytes; "" for anything else. Pure."""
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return ""
