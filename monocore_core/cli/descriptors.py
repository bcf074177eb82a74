"""Reading and writing descriptors that we share with other programs: blocking or not, exact, and told apart when the other end is away."""

from __future__ import annotations

import errno
import os
import select

from monocore_core.errors import StorageError

#: Most bytes moved at once.
CHUNK = 256 * 1024
#: The other end is away: a pipe without reader, a terminal that hung up, a socket that was reset.
_GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET, errno.ENXIO})


class OutputClosed(Exception):
    """Nobody reads a stream of ours any more (``| head``)."""


def read_some(fd: int) -> bytes:
    """What there is, at least a byte, waiting for it; ``b""`` at the end, or when the terminal hung up."""
    while True:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:  # another program made the shared descriptor non-blocking
            _wait(fd, select.POLLIN)
        except OSError as error:
            if error.errno in _GONE:
                return b""
            raise StorageError(f"cannot read standard input: {error.strerror}") from error


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, waiting for a slow reader."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT)
        except OSError as error:
            if error.errno in _GONE:
                raise OutputClosed from error
            raise StorageError(f"cannot write the command's output: {error.strerror}") from error


def _wait(fd: int, event: int) -> None:
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
