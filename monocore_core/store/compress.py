"""Compression of layers that leave the store. The same bytes come out on the same versions of isal (or zlib) and zstd."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from typing import Protocol

from monocore_core.model.oci import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

try:
    _zlib = importlib.import_module("isal.isal_zlib")
except ImportError:  # a machine that isal has no wheel for
    _zlib = importlib.import_module("zlib")

#: Highest of isal's fast levels; zlib's usual one.
_LEVELS = {"isal.isal_zlib": 2, "zlib": 6}
_GZIP_WBITS = 31
_DEFLATED = 8


class Compression(StrEnum):
    """How layers are written."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def media_type(self) -> str:
        """Of a layer."""
        return {"none": OCI_LAYER_TAR, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}[self.value]


class Compressor(Protocol):
    """One stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What is complete so far."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


def compressor(kind: Compression) -> Compressor:
    """A fresh one, for gzip or zstd."""
    if kind is Compression.ZSTD:
        return ZstdCompressor()
    made: Compressor = _zlib.compressobj(_LEVELS[_zlib.__name__], _DEFLATED, _GZIP_WBITS)
    return made
