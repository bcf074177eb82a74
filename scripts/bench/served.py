"""A daemon of a bench's own, with one image: over the command line, as people use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from monocore_core.testing.images import BuiltImage
from monocore_core.testing.registry import LocalRegistry
from scripts.bench.peers import PeerFailed

#: Sandboxes that are started at once.
_AT_ONCE = 4
_WAITING = 300.0
#: As it is installed beside the Python that measures.
PROGRAM = str(Path(sys.executable).with_name("monocore"))


@frozen
class Served:
    """What there is.

    Attributes:
        home: of the daemon.
        reference: of the image, which it has.
        pid: of its process.
    """

    home: Path
    reference: str
    pid: int

    @property
    def socket(self) -> Path:
        """That it listens on."""
        return self.home / "monocore.sock"

    def idle(self, count: int) -> list[str]:
        """Ids of sandboxes of 96 MiB that run, and do nothing."""
        words = ("run", "-d", "-m", "96m", self.reference, "sleep", "1000000")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            begun = [pool.submit(command, self.home, *words) for _ in range(count)]
            return [one.result().strip() for one in begun]


@contextmanager
def served(cache: Path, image: BuiltImage, name: str) -> Generator[Served]:
    """A daemon of its own, which has pulled the image from a registry; both end, and the home goes.

    Args:
        cache: folder for the home and the registry's.
        image: to have.
        name: of it, in the registry.
    """
    home = Path(tempfile.mkdtemp(dir=cache))
    try:
        with LocalRegistry(cache / "registry") as registry:
            reference = registry.push(image, name)
            with serving(home) as daemon:
                command(home, "pull", "-q", reference)
                yield Served(home, reference, daemon.pid)
    finally:
        shutil.rmtree(home)


@contextmanager
def serving(home: Path, config: Path | None = None) -> Generator[subprocess.Popen[bytes]]:
    """A daemon of that home, ended with its sandboxes."""
    reader, writer = os.pipe()
    words = [sys.executable, "-m", "monocore_core", "serve", "--home", str(home)]
    words += ["--config", str(config)] if config is not None else []
    environ = {**os.environ, "MONOCORE_READY_FD": str(writer)}
    with (home / "daemon.log").open("wb") as log, os.fdopen(reader, "rb") as ready:
        try:
            daemon = subprocess.Popen(words, env=environ, pass_fds=(writer,), stderr=log)
        finally:
            os.close(writer)
        try:
            if ready.readline().strip() != b"ready":
                raise PeerFailed(f"the daemon did not start: {(home / 'daemon.log').read_text()[-2000:]}")
            yield daemon
        finally:
            command(home, "serve", "--stop", "--sandboxes")
            daemon.wait(_WAITING)


def command(home: Path, *words: str) -> str:
    """What ``monocore WORDS…`` writes, over the home's daemon.

    Raises:
        PeerFailed: it failed.
    """
    done = subprocess.run(
        [PROGRAM, *words],
        env={**os.environ, "MONOCORE_HOME": str(home), "MONOCORE_DAEMON": "auto"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WAITING,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"monocore {' '.join(words)}: {done.stderr[-2000:]}")
    return done.stdout
