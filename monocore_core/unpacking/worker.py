"""What runs in the jail: takes compressed bytes, gives uncompressed blocks.

Both are handed over in shared memory, a ring of slots for each direction, and told of through pipes: a kind, and how many bytes are in the next
slot. To it: DATA, and END of a stream. From it: READY once everything is loaded, BLOCK, END of a stream, and CORRUPT or TOO_MUCH, with that many
bytes of words behind, after which it ends. Whoever has emptied a slot says so by a byte in a pipe of its own. This module imports what the worker needs and no more.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Callable
from typing import Final

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.inflate import BLOCK, Inflater, SniffingInflater, keep_memory

HEAD: Final = struct.Struct(">BI")
DATA, BLOCK_OF, END, READY, CORRUPT, TOO_MUCH = range(6)
#: Bytes of words.
MAX_WORDS: Final = 1000
#: Slots for compressed bytes, and their size; slots for blocks, which lie behind them.
IN_SLOTS: Final = 3
IN_SIZE: Final = 1024 * 1024
OUT_SLOTS: Final = 4
MEMORY: Final = IN_SLOTS * IN_SIZE + OUT_SLOTS * BLOCK


def place_in(number: int) -> int:
    """Where the slot of the ``number``-th DATA begins."""
    return number % IN_SLOTS * IN_SIZE


def place_out(number: int) -> int:
    """Where the slot of the ``number``-th BLOCK begins."""
    return IN_SLOTS * IN_SIZE + number % OUT_SLOTS * BLOCK


class Served:
    """The worker's end.

    Args:
        source: descriptor of what it is told.
        target: descriptor for what it tells.
        emptied: descriptor with a byte for each of its slots that has been emptied.
        taken: descriptor for a byte for each of the others' that it has emptied.
        memory: descriptor of the shared memory.
    """

    def __init__(self, source: int, target: int, emptied: int, taken: int, memory: int) -> None:
        self._source = source
        self._target = target
        self._emptied = emptied
        self._taken = taken
        self._memory = mmap.mmap(memory, MEMORY)
        self._received = self._sent = 0
        self._free = OUT_SLOTS

    def serve(self, fresh: Callable[[], Inflater]) -> None:
        """Decompress streams until there are no more, or one is damaged."""
        self._tell(READY)
        inflater = fresh()
        try:
            while (head := self._head()) is not None:
                kind, size = head
                if kind == DATA:
                    for block in inflater.feed(self._take(size)):
                        self._give(block)
                else:
                    inflater.finish()
                    self._tell(END)
                    inflater = fresh()
        except Corrupt as error:
            self._tell(CORRUPT, error.brief.encode()[:MAX_WORDS])
        except LimitExceeded as error:
            self._tell(TOO_MUCH, error.brief.encode()[:MAX_WORDS])
        except MemoryError:
            self._tell(TOO_MUCH, b"decompressing it takes more memory than is given")

    def _head(self) -> tuple[int, int] | None:
        head = b""
        while len(head) < HEAD.size:
            if not (more := os.read(self._source, HEAD.size - len(head))):
                return None
            head += more
        kind, size = HEAD.unpack(head)
        return kind, size

    def _take(self, size: int) -> bytes:
        start = place_in(self._received)
        self._received += 1
        data = self._memory[start : start + size]
        os.write(self._taken, b"\0")
        return data

    def _give(self, block: bytes) -> None:
        while not self._free:
            self._free = len(os.read(self._emptied, OUT_SLOTS))
            if not self._free:
                raise BrokenPipeError
        self._free -= 1
        start = place_out(self._sent)
        self._sent += 1
        self._memory[start : start + len(block)] = block
        os.write(self._target, HEAD.pack(BLOCK_OF, len(block)))

    def _tell(self, kind: int, words: bytes = b"") -> None:
        os.write(self._target, HEAD.pack(kind, len(words)) + words)  # a pipe takes it whole: pipe(7)


def main() -> None:
    """Serve the descriptors that the command line names; with a further word, whole archives."""
    fresh: Callable[[], Inflater] = SniffingInflater
    if sys.argv[6:]:
        from monocore_core.inflate.archives import ArchiveInflater  # noqa: PLC0415 - with libraries that layers do not need

        fresh = ArchiveInflater
    source, target, emptied, taken, memory = map(int, sys.argv[1:6])
    keep_memory()
    try:
        Served(source, target, emptied, taken, memory).serve(fresh)
    except BrokenPipeError:  # nobody wants it any more
        sys.exit(1)
