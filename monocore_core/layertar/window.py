"""Bytes of a tar by position, read forwards in small pieces; data between headers is sought over, or read and dropped."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from monocore_core.errors import Corrupt

BLOCK = 512
#: Read at once: several headers of small files, and little waste where files are large.
CHUNK = 4 * 1024
#: Dropped at once when the stream cannot seek.
SKIP = 1024 * 1024


class Window:
    """A stream that stands at its tar's first byte. Positions must not go backwards but within what was just read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._base = 0
        self._data = b""
        self._origin = 0
        self._end: int | None = None
        self._fd = -1
        if stream.seekable():
            if _on_disk(stream):
                self._fd = stream.fileno()  # a file of the host: one system call a piece
            self._origin = stream.tell()
            self._end = stream.seek(0, os.SEEK_END) - self._origin
            stream.seek(self._origin)

    def block(self, position: int) -> bytes:
        """The 512 bytes at ``position``, or as many as there are."""
        at = position - self._base
        data = self._data[at : at + BLOCK]
        if len(data) == BLOCK:
            return data
        return self._fill(position, BLOCK)

    def read(self, position: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``position``; the caller has bounded ``size``.

        Raises:
            Corrupt: the tar ends before.
        """
        at = position - self._base
        data = self._data[at : at + size]
        if len(data) < size:
            data = self._fill(position, size)
        if len(data) < size:
            raise _truncated(position + size)
        return data

    def require(self, end: int) -> None:
        """Make sure that the tar has bytes up to ``end``.

        Raises:
            Corrupt: it ends before.
        """
        if self._end is not None:
            if end > self._end:
                raise _truncated(end)
        elif end > self._base + len(self._data) and not self._fill(end - 1, 1):
            raise _truncated(end)

    def _fill(self, position: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``position``, less only at the end; what lies before is forgotten."""
        at = position - self._base
        if self._fd >= 0:
            self._base, self._data = position, os.pread(self._fd, max(size, CHUNK), self._origin + position)
        elif self._end is not None and not 0 <= at <= len(self._data):
            self._stream.seek(self._origin + position)
            self._base, self._data = position, b""
        else:
            self._drop(position)
        while len(self._data) < size:
            more = self._more(size - len(self._data))
            if not more:
                break
            self._data += more
        return self._data[:size]

    def _more(self, size: int) -> bytes:
        """What stands behind the window."""
        if self._fd >= 0:
            return os.pread(self._fd, max(size, CHUNK), self._origin + self._base + len(self._data))
        return self._stream.read(max(size, CHUNK))

    def _drop(self, position: int) -> None:
        """Read on until the window begins at ``position``, or the stream ends."""
        at = position - self._base
        while at > len(self._data):
            at -= len(self._data)
            self._data = self._stream.read(min(at, SKIP))
            if not self._data:
                at = 0
        self._base, self._data = position, self._data[at:]


def _on_disk(stream: object) -> bool:
    """Whether the stream is an ordinary open file, whose descriptor holds the same bytes."""
    raw: object = getattr(stream, "raw", None)
    return isinstance(stream, io.BufferedReader) and isinstance(raw, io.FileIO)


def _truncated(end: int) -> Corrupt:
    return Corrupt(f"the tar is truncated: it ends before byte {end}")
