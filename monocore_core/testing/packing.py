"""Layers packed in one pass: files or tar bytes in, a compressed blob with both digests out."""

from __future__ import annotations

import hashlib
import io
import secrets
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from attrs import define, field, frozen

from monocore_core.model.digest import Digest, Hasher
from monocore_core.testing.filespec import FileSpec, write_tar

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

Compression = Literal["none", "gzip", "zstd"]

_GZIP_WBITS = 31


@frozen
class Blob:
    """Bytes in memory (``data``) or in a file (``path``)."""

    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self.path is not None else len(self.data or b"")

    def open(self) -> BinaryIO:
        """A stream of the bytes, to be closed."""
        return self.path.open("rb") if self.path is not None else io.BytesIO(self.data or b"")

    def read(self) -> bytes:
        """All of them."""
        with self.open() as stream:
            return stream.read()


@frozen
class PackedLayer:
    """One layer, compressed.

    Attributes:
        blob: as a registry has it.
        digest: of ``blob``.
        diff_id: of the tar in it.
        compression: of ``blob``.
    """

    blob: Blob
    digest: Digest
    diff_id: Digest
    compression: Compression


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    """Compresses nothing."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Zstd:
    """zstd as one frame."""

    def __init__(self) -> None:
        self._inner = ZstdCompressor()

    def compress(self, data: bytes, /) -> bytes:
        return self._inner.compress(data)

    def flush(self) -> bytes:
        return self._inner.flush()


def _compressor(compression: Compression) -> _Compressor:
    if compression == "gzip":
        return zlib.compressobj(6, zlib.DEFLATED, _GZIP_WBITS)
    return _Zstd() if compression == "zstd" else _Plain()


@define(eq=False, slots=False)
class _Tee(io.RawIOBase):
    """What is written is hashed, compressed, and hashed again."""

    sink: BinaryIO
    compressor: _Compressor
    inner: Hasher = field(factory=hashlib.sha256)
    outer: Hasher = field(factory=hashlib.sha256)

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        chunk = bytes(memoryview(data))  # type: ignore[arg-type]
        self.inner.update(chunk)
        self._put(self.compressor.compress(chunk))
        return len(chunk)

    def finish(self) -> None:
        """Write what the compressor still holds."""
        self._put(self.compressor.flush())

    def _put(self, data: bytes) -> None:
        self.outer.update(data)
        self.sink.write(data)


def pack(
    content: Iterable[FileSpec] | bytes, compression: Compression = "gzip", folder: Path | None = None
) -> PackedLayer:
    """Pack a layer.

    Args:
        content: files, consumed one by one, or the bytes of a tar.
        compression: of the blob.
        folder: where the blob is written as ``<hex>.blob`` without being held in memory; None keeps it there.
    """
    if folder is None:
        buffer = io.BytesIO()
        digest, diff_id = _write(content, compression, buffer)
        return PackedLayer(Blob(data=buffer.getvalue()), digest, diff_id, compression)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{secrets.token_hex(8)}.partial"
    try:
        with partial.open("xb") as sink:
            digest, diff_id = _write(content, compression, sink)
    except BaseException:
        partial.unlink()
        raise
    target = folder / f"{digest.hex}.blob"
    partial.rename(target)
    return PackedLayer(Blob(path=target), digest, diff_id, compression)


def _write(
    content: Iterable[FileSpec] | bytes, compression: Compression, sink: BinaryIO
) -> tuple[Digest, Digest]:
    tee = _Tee(sink, _compressor(compression))
    if isinstance(content, bytes):
        tee.write(content)
    else:
        buffer = io.BufferedWriter(tee, 1 << 20)
        write_tar(content, buffer)
        buffer.flush()
    tee.finish()
    return Digest("sha256", tee.outer.hexdigest()), Digest("sha256", tee.inner.hexdigest())
