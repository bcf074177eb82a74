"""The Unix socket on which a daemon listens: one of its own, or the one that systemd gives it (sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from monocore_core.errors import InvalidInput, StorageError
from monocore_core.hostcalls.paths import short
from monocore_core.store.atomic import storage_errors

#: First descriptor of socket activation.
LISTEN_FDS_START = 3
#: Connections that wait until they are accepted.
BACKLOG = 512
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@contextmanager
def listening(path: Path) -> Generator[socket.socket]:
    """A socket that listens: systemd's, which stays, or our own at ``path``, which only its owner may open and which is removed at the end.

    Args:
        path: absolute; its folder is there. What is there is replaced: whoever calls this has the home's lock.

    Raises:
        InvalidInput: systemd gives what cannot be listened on.
        StorageError: the path cannot be listened on.
    """
    given = activated()
    if given is not None:
        with given:
            yield given
        return
    with storage_errors(f"listen on {path}"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _bound(folder, path) as listener:
            ours = _identity(folder, path.name)
            try:
                yield listener
            finally:
                # not the one of somebody who took the name meanwhile, as systemd does when its socket is enabled
                if ours is not None and _identity(folder, path.name) == ours:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path.name, dir_fd=folder)
    finally:
        os.close(folder)


@contextmanager
def _bound(folder: int, path: Path) -> Generator[socket.socket]:
    with storage_errors(f"listen on {path}"), contextlib.suppress(FileNotFoundError):
        os.unlink(path.name, dir_fd=folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            with short(path.parent) as prefix:
                listener.bind(f"{prefix}/{path.name}")
        except OSError as error:
            raise StorageError(f"cannot listen on {path}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        yield listener


def _identity(folder: int, name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def activated(first: int = LISTEN_FDS_START) -> socket.socket | None:
    """The socket that this process was given, or None. Its variables are taken out of the environment, so that no child takes it for its own.

    Args:
        first: the descriptor that it is; another one than systemd's for tests.

    Raises:
        InvalidInput: there are several, or it is none that listens on a Unix socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    for name in _VARIABLES:
        os.environ.pop(name, None)
    if count != "1":
        raise InvalidInput(
            f"systemd gives {count or 'no'} sockets, not one",
            hint="let monocore.socket have one ListenStream",
        )
    try:
        os.set_inheritable(first, False)  # noqa: FBT003 - of the standard library; no VMM is to have it
        given = socket.socket(fileno=first)
    except OSError as error:
        raise InvalidInput(f"what systemd gives is no socket: {error.strerror}") from error
    if given.family != socket.AF_UNIX or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        given.close()
        raise InvalidInput(
            "systemd gives a socket that is not a listening Unix socket", hint="ListenStream=/a/path"
        )
    return given
