"""The terminal: is it one, how large is it, and raw mode that ends whatever happens."""

from __future__ import annotations

import atexit
import os
import termios
import tty

from monocore_core.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

STDIN, STDOUT, STDERR = 0, 1, 2
MAX_SIDE = 65535


#: Of a terminal that does not say, rows and columns.
USUAL = (24, 80)


def is_terminal(fd: int) -> bool:
    """Whether a descriptor is a terminal; a closed one is not."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def need_terminal() -> None:
    """Docker's check of ``-it``.

    Raises:
        InvalidInput: standard input, which is sent to a terminal, is none.
    """
    if not is_terminal(STDIN):
        raise InvalidInput(
            "the input device is not a TTY", hint="leave out -t when standard input is a pipe or a file"
        )


def table_of_size() -> dict[str, int]:
    """What a ``CommandRequest`` has as its terminal."""
    rows, columns = terminal_size()
    return {"rows": rows, "columns": columns}


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the terminal we talk to; 24 by 80 when there is none or it does not say."""
    for fd in (STDOUT, STDIN, STDERR):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        if 0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE:
            return rows, columns
    return USUAL


class RawTerminal:
    """Context manager: every key goes through as it is, until the end.

    The former mode is put back on leaving the context, and again when the interpreter exits without that. ``apply`` sets raw
    mode anew, for use after the process was stopped and continued.
    """

    def __init__(self, fd: int = STDIN) -> None:
        self._fd = fd
        self._saved: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._fd)
        atexit.register(self.restore)
        self.apply()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def apply(self) -> None:
        """Switch to raw mode now; a terminal that went away is left alone."""
        if self._saved is not None:
            try:
                tty.setraw(self._fd, termios.TCSANOW)
            except termios.error:
                self._saved = None

    def restore(self) -> None:
        """Put the former mode back. A repeat does nothing."""
        saved, self._saved = self._saved, None
        atexit.unregister(self.restore)
        if saved is None:
            return
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
        except termios.error:  # the terminal was closed: nothing is left to restore
            return
