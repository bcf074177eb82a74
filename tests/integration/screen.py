"""A terminal, as a person has it: our end of a pty."""

from __future__ import annotations

import os
import pty
import re
import select
import termios
import time

#: Seconds within which any one thing must show.
LIMIT = 40.0


class Screen:
    """Our end of a terminal: what a person sees and types."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, (24, 80))
        self.before = termios.tcgetattr(self.theirs)
        self.seen = b""

    def close(self) -> None:
        for fd in (self.ours, self.theirs):
            os.close(fd)

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.theirs, (rows, columns))

    def expect(self, pattern: bytes) -> re.Match[bytes]:
        """Wait for a pattern, and forget what came up to its end."""
        deadline = time.monotonic() + LIMIT
        while not (match := re.search(pattern, self.seen, re.DOTALL)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.ours], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not show; on the screen: {self.seen!r}")
            self.seen += os.read(self.ours, 65536)
        self.seen = self.seen[match.end() :]
        return match

    def mode(self) -> object:
        return termios.tcgetattr(self.theirs)
