"""Decompression, step by step, with the output of every step bounded: of layers here, of whole archives in :mod:`monocore_core.inflate.archives`.

Whoever reads a stranger's bytes has a process in a jail do it: :mod:`monocore_core.unpacking`.
"""

from monocore_core.inflate.layers import (
    BLOCK,
    GzipInflater,
    Inflater,
    PlainInflater,
    SniffingInflater,
    ZstdInflater,
    is_zeros,
    keep_memory,
)

__all__ = [
    "BLOCK",
    "GzipInflater",
    "Inflater",
    "PlainInflater",
    "SniffingInflater",
    "ZstdInflater",
    "is_zeros",
    "keep_memory",
]
