"""What runs in the jail: compressed bytes from one descriptor, uncompressed blocks to another.

Messages have a kind, a length, and as many bytes. To it: DATA, and END of a stream. From it: READY once everything is loaded, BLOCK, END of
a stream, and CORRUPT or TOO_MUCH, with words, after which it ends. It imports what it needs and no more.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Final

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.inflate import Inflater, SniffingInflater

HEAD: Final = struct.Struct(">BI")
DATA, BLOCK_OF, END, READY, CORRUPT, TOO_MUCH = range(6)
#: Bytes of words.
MAX_WORDS: Final = 1000


def serve(source: int, target: int, fresh: Callable[[], Inflater]) -> None:
    """Decompress streams until there are no more, or one is damaged."""
    _send(target, READY)
    inflater = fresh()
    try:
        while (message := _receive(source)) is not None:
            kind, data = message
            if kind == DATA:
                for block in inflater.feed(data):
                    _send(target, BLOCK_OF, block)
            else:
                inflater.finish()
                _send(target, END)
                inflater = fresh()
    except Corrupt as error:
        _send(target, CORRUPT, error.brief.encode()[:MAX_WORDS])
    except LimitExceeded as error:
        _send(target, TOO_MUCH, error.brief.encode()[:MAX_WORDS])
    except MemoryError:
        _send(target, TOO_MUCH, b"decompressing it takes more memory than is given")


def _send(target: int, kind: int, data: bytes = b"") -> None:
    head = HEAD.pack(kind, len(data))
    sent = os.writev(target, (head, data)) - len(head)
    while sent < len(data):  # the head is smaller than what a pipe takes at once
        sent += os.write(target, memoryview(data)[sent:])


def _receive(source: int) -> tuple[int, bytes] | None:
    head = _read(source, HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, size = HEAD.unpack(head)
    data = _read(source, size)
    return (kind, data) if len(data) == size else None


def _read(source: int, size: int) -> bytes:
    """That many bytes; fewer when there are no more."""
    data = os.read(source, size) if size else b""
    if len(data) == size:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (data := os.read(source, missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def main() -> None:
    """Serve the descriptors that the command line names; with a third word, whole archives."""
    fresh: Callable[[], Inflater] = SniffingInflater
    if sys.argv[3:]:
        from monocore_core.inflate.archives import ArchiveInflater  # noqa: PLC0415 - with libraries that layers do not need

        fresh = ArchiveInflater
    try:
        serve(int(sys.argv[1]), int(sys.argv[2]), fresh)
    except BrokenPipeError:  # nobody wants it any more
        sys.exit(1)
