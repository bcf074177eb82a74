"""Short names for folders: the address of a Unix socket holds 107 bytes (104 on macOS), a path may hold 4095 (1024)."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

#: Longest path, bytes, that the address of a Unix socket holds everywhere, with the zero that ends it.
ROOM = 103


@contextmanager
def short(folder: str | os.PathLike[str]) -> Generator[str]:
    """A name of ``folder`` that is short, for as long as the context lasts.

    Linux reaches it through a descriptor (proc_pid_fd(5)), which holds on to the folder itself, whatever becomes of its name. Elsewhere it is a
    symlink in a folder of our own.

    Raises:
        OSError: there is no such folder, or it may not be searched.
    """
    if hasattr(os, "O_PATH"):
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with _by_link(folder) as name:
        yield name


@contextmanager
def _by_link(folder: str | os.PathLike[str]) -> Generator[str]:
    from pathlib import Path  # noqa: PLC0415 - a thin client on Linux does without it

    os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))  # says why, where it is none
    # $TMPDIR of macOS is long; nobody knows the name before, and the folder is ours alone
    ours = Path(f"/tmp/mc-{os.urandom(8).hex()}")  # noqa: S108
    ours.mkdir(0o700)
    link = ours / "f"
    try:
        link.symlink_to(Path(folder).absolute())
        yield str(link)
    finally:
        with suppress(FileNotFoundError):
            link.unlink()
        ours.rmdir()
