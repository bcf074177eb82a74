"""Decompression of whole archives: what layers may be compressed with (:mod:`monocore_core.inflate.layers`), and xz and bzip2 besides."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Iterator
from typing import Protocol

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.inflate.layers import BLOCK, MAX_MEMBERS, Inflater, SniffingInflater, layer_compression

#: Bytes that must be known to tell the format.
MAGIC_LENGTH = 10
#: Bytes of memory that xz may take: eight times what ``xz -9`` needs.
_XZ_MEMORY = 512 * 1024 * 1024
_XZ = b"\xfd7zXZ\0"
_BZIP2 = b"BZh"
_BZIP2_BLOCK, _BZIP2_END = b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"


def compression_of(head: bytes) -> str:
    """``gzip``, ``zstd``, ``xz`` or ``bzip2``, told by the first :data:`MAGIC_LENGTH` bytes; "" for anything else."""
    if head.startswith(_XZ):
        return "xz"
    if head.startswith(_BZIP2) and head[4:10] in {_BZIP2_BLOCK, _BZIP2_END}:
        return "bzip2"
    return layer_compression(head)


class _Decompressor(Protocol):
    """What :mod:`lzma` and :mod:`bz2` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class StreamsInflater:
    """For xz and bzip2: one stream or several, with what padding they allow."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._count = 0
        self._stream: _Decompressor | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See :class:`~monocore_core.inflate.layers.Inflater`."""
        while True:
            if self._stream is None:
                if self._count:
                    data = data.lstrip(b"\0")
                if not data:
                    return
                self._stream = self._begin()
            stream = self._stream
            try:
                block = stream.decompress(data, BLOCK)
            except (lzma.LZMAError, OSError, EOFError) as error:
                raise Corrupt(f"its {self._kind} data is damaged: {error}") from error
            data = b""
            if block:
                yield block
            if stream.eof:
                data, self._stream = stream.unused_data, None
            elif stream.needs_input:
                return

    def finish(self) -> None:
        """See :class:`~monocore_core.inflate.layers.Inflater`."""
        if self._stream is not None or not self._count:
            raise Corrupt(f"its {self._kind} data ends early")

    def _begin(self) -> _Decompressor:
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise LimitExceeded(f"it has more than {MAX_MEMBERS} {self._kind} streams")
        if self._kind == "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        return bz2.BZ2Decompressor()


class ArchiveInflater(SniffingInflater):
    """The same for whole archives."""

    what = "an archive"
    head = MAGIC_LENGTH

    def choose(self, head: bytes) -> Inflater:
        """See the base."""
        kind = compression_of(head)
        return StreamsInflater(kind) if kind in {"xz", "bzip2"} else super().choose(head)
