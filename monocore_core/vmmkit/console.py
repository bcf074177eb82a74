"""The guest's console and the VMM's own words, bounded.

The VMM writes both into pipes. QEMU drops what does not fit, so a guest that writes without end neither stops nor fills anything; and it
holds the reading ends as well: nothing breaks when we are gone, and a later process of ours finds the pipes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

#: Seconds between two reads: with a pipe's 64 KiB this is what a flood can cost us.
_PAUSE = 0.05
_CHUNK = 65536


class ConsolePump:
    """Copies a pipe into a file that never exceeds a limit: when it is full, the older half is dropped.

    Args:
        pipe: reading end, non-blocking; owned.
        path: the file, made with mode 0600.
        limit: bytes.
        fresh: whether to begin an empty file.
    """

    def __init__(self, pipe: int, path: Path, limit: int, *, fresh: bool) -> None:
        self._pipe = pipe
        self._file = _opened(path, fresh=fresh)
        self._size = os.lseek(self._file, 0, os.SEEK_END)
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last = ""
        self._watch()

    def tail(self, limit: int = 2048) -> str:
        """The last words, made safe to show; of a closed console, what it ended with."""
        if self._file < 0:
            return self._last[-limit:]
        self._copy()
        size = min(limit, self._size)
        return printable(os.pread(self._file, size, self._size - size))

    def move(self, path: Path) -> None:
        """Go on in another file, which is made empty; what was copied so far stays in the first.

        Raises:
            OSError: it cannot be made.
        """
        self._copy()
        file = _opened(path, fresh=True)
        os.close(self._file)
        self._file, self._size = file, 0

    def close(self) -> None:
        """Copy what is left and close. A repeat does nothing."""
        if self._file < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._last = self.tail()
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        os.close(self._file)
        self._file = -1

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._pipe, self._on_words)

    def _on_words(self) -> None:
        self._loop.remove_reader(self._pipe)
        if self._copy():
            self._timer = self._loop.call_later(_PAUSE, self._watch)

    def _copy(self) -> bool:
        """Copy what the pipe holds now; False at its end."""
        try:
            words = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return True
        with contextlib.suppress(OSError):  # a full disk must not end the machine
            self._append(words[-self._limit // 2 :])
        return bool(words)

    def _append(self, words: bytes) -> None:
        if self._size + len(words) > self._limit:
            keep = os.pread(self._file, self._limit // 2, self._size - self._limit // 2)
            os.ftruncate(self._file, 0)
            self._size = os.pwrite(self._file, keep, 0)
        self._size += os.pwrite(self._file, words, self._size)


def _opened(path: Path, *, fresh: bool) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
    return os.open(path, flags, 0o600)


class LastWords:
    """What the VMM said on its standard error, kept in the pipe until someone asks.

    Args:
        pipe: reading end, non-blocking; owned.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._text = b""

    def last_line(self) -> str:
        """The last line that is not empty, or ""."""
        if self._pipe >= 0:
            with contextlib.suppress(BlockingIOError):
                self._text = (self._text + os.read(self._pipe, _CHUNK))[-_CHUNK:]
        lines = [line for line in printable(self._text).splitlines() if line.strip()]
        return lines[-1].strip()[:500] if lines else ""

    def close(self) -> None:
        """Close; what was said before can still be asked. A repeat does nothing."""
        if self._pipe >= 0:
            self.last_line()
            os.close(self._pipe)
            self._pipe = -1


def printable(words: bytes) -> str:
    """Text without the control characters that would drive a terminal."""
    text = words.decode(errors="replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "" for letter in text)
