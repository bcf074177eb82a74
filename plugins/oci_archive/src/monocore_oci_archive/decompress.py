"""Decompression of archives by a process in a jail (:mod:`monocore_core.unpacking`), or by ourselves where there is none. In threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attrs import frozen

from monocore_core.inflate.archives import ArchiveInflater
from monocore_core.unpacking.service import Unpackers


@frozen
class Decompressor:
    """What decompresses one archive after the other.

    Attributes:
        unpackers: whose processes do it.
        loop: that they are started in; its thread is another one.
    """

    unpackers: Unpackers
    loop: asyncio.AbstractEventLoop

    def run(
        self,
        read: Callable[[], bytes],
        write: Callable[[bytes | memoryview], None],
        stop: Callable[[], None],
    ) -> None:
        """Decompress everything.

        Args:
            read: gives the next compressed bytes, none at the end; another thread may call it.
            write: takes the next block.
            stop: makes ``read`` return soon, when it is called by another thread.

        Raises:
            Corrupt, LimitExceeded, Unsupported: as of :mod:`monocore_core.unpacking`; and whatever ``read`` and ``write`` raise.
        """
        worker = asyncio.run_coroutine_threadsafe(self.unpackers.start(archives=True), self.loop).result()
        if worker is None:
            _by_ourselves(read, write)
            return
        try:
            worker.pump(read, write, stop)
        finally:
            asyncio.run_coroutine_threadsafe(worker.close(), self.loop).result()


def _by_ourselves(read: Callable[[], bytes], write: Callable[[bytes | memoryview], None]) -> None:
    inflater = ArchiveInflater()
    while data := read():
        for block in inflater.feed(data):
            write(block)
    inflater.finish()
