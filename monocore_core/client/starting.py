"""Starting a home's daemon, when nobody answers, and waiting until somebody does.

The daemon is told by ``MONOCORE_READY_FD`` the number of a pipe, into which it writes ``ready`` and a newline when its socket is open, or
its problem as a line of JSON. Clients that start one at the same time take turns by a lock, so that the second finds the first one's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator, Mapping

from monocore_core.client.api import problem
from monocore_core.client.connection import NobodyListens, connect
from monocore_core.client.daemon import Place
from monocore_core.client.destination import VARIABLES
from monocore_core.client.tables import parse_table
from monocore_core.errors import (
    Conflict,
    Corrupt,
    DeadlineExceeded,
    MachineError,
    MonocoreError,
    StorageError,
)

READY_VARIABLE = "MONOCORE_READY_FD"
#: Seconds until the daemon must be ready, and without anything to do after which it ends.
DEADLINE, IDLE_EXIT = 30.0, 600
#: Bytes that it may say instead of being ready.
MAX_SAID = 64 * 1024
LOG = "daemon.log"
#: Bytes of the log that the next daemon may add to.
MAX_LOG = 8 * 1024 * 1024
_LOCK = "daemon.starting"
_ERROR = "monocore: error: "
#: Seconds between two looks for a daemon that somebody else starts.
_AGAIN = 0.05


def ensure(place: Place, environ: Mapping[str, str]) -> None:
    """See to it that a daemon listens.

    Raises:
        MonocoreError: what the daemon said instead of being ready; DeadlineExceeded: it said nothing in time.
        StorageError: the home cannot be made.
        Unreachable: one listens that cannot be reached.
    """
    if not _listens(place):
        with _turn(place.home):
            if not _listens(place):
                _start(place, environ)


def _listens(place: Place) -> bool:
    try:
        connect(place.socket).close()
    except NobodyListens:
        return False
    return True


@contextlib.contextmanager
def _turn(home: str) -> Generator[None]:
    """Held by one client at a time; whoever has it gives it back within its own deadline."""
    import fcntl  # noqa: PLC0415 - only who starts a daemon pays for it

    try:
        _make_folder(home)
        fd = os.open(f"{home}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot use the home folder {home}: {error.strerror}", hint="name another: --home"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _start(place: Place, environ: Mapping[str, str]) -> None:
    deadline = time.monotonic() + DEADLINE
    reader, writer = os.pipe()
    try:
        try:
            _spawn(place, environ, writer)
        finally:
            os.close(writer)
        said = _hear(reader, deadline)
    finally:
        os.close(reader)
    if said == b"ready":
        return
    error = _problem(said, place)
    if not isinstance(error, Conflict):
        raise error
    _await_other(place, deadline, error)


def _spawn(place: Place, environ: Mapping[str, str], writer: int) -> None:
    """Start it, in a session of its own, with nothing of ours but the pipe; nobody waits for its end."""
    import subprocess  # noqa: PLC0415 - only who starts a daemon pays for it

    words = [
        sys.executable,
        "-m",
        "monocore_core",
        "serve",
        "--home",
        place.home,
        "--idle-exit",
        str(IDLE_EXIT),
    ]
    if place.config is not None:
        words += ["--config", place.config]
    try:
        _make_room(_log(place))
        log = os.open(
            _log(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise StorageError(f"cannot write {_log(place)}: {error.strerror}") from error
    try:
        started = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**_without_ours(environ), READY_VARIABLE: str(writer)},
            pass_fds=(writer,),
            start_new_session=True,
        )
    except OSError as error:
        raise MachineError(f"the daemon cannot be started: {error.strerror}") from error
    finally:
        os.close(log)
    started.returncode = 0  # it is meant to outlive us: no warning that it runs on


def _without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """What a daemon needs of an environment: not what is about reaching other daemons, such as their tokens."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def _make_folder(home: str) -> None:
    """Ours alone; the folders above it, where they are not there, as the umask has them."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(home) or ".", exist_ok=True)
        os.mkdir(home, 0o700)


def _log(place: Place) -> str:
    return f"{place.home}/{LOG}"


def _make_room(log: str) -> None:
    """A log that has grown long becomes the one before, whose own is given up."""
    with contextlib.suppress(FileNotFoundError):
        if os.stat(log).st_size > MAX_LOG:
            os.replace(log, f"{log}.1")


def _hear(reader: int, deadline: float) -> bytes:
    """The line that the daemon says."""
    import select  # noqa: PLC0415 - only who starts a daemon pays for it

    said = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while b"\n" not in said and len(said) < MAX_SAID:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise DeadlineExceeded(
                f"the daemon was not ready within {DEADLINE:g} s", hint=f"see {LOG} in the home folder"
            )
        data = os.read(reader, MAX_SAID)
        if not data:
            break
        said += data
    return bytes(said).partition(b"\n")[0].strip()


def _problem(said: bytes, place: Place) -> MonocoreError:
    """What the daemon says; when it died without a word, the last line of its log."""
    if said:
        with contextlib.suppress(Corrupt):
            return problem(parse_table(said))
    last = ""
    with contextlib.suppress(OSError, IndexError), open(_log(place), "rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - 4096))
        last = stream.read().decode("utf-8", "replace").strip().splitlines()[-1]
    return MachineError(
        f"the daemon did not start{f': {last.removeprefix(_ERROR)}' if last else ''}",
        hint=f"see {_log(place)}",
    )


def _await_other(place: Place, deadline: float, error: MonocoreError) -> None:
    """Somebody else's daemon has the home, and is not ready yet."""
    while not _listens(place):
        if time.monotonic() > deadline:
            raise error
        time.sleep(_AGAIN)
