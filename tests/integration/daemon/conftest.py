"""The command line over a daemon that it starts itself: a home of the package's, an image in it, and nothing left at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from tests.integration.screen import LIMIT

#: The namespaces of net_tap go with their last sandbox, before the test's folder does.
LINGER = {"MONOCORE_PLUGINS__NET_TAP__LINGER": "0.1"}
ARGV = (sys.executable, "-m", "monocore_core")


@frozen
class Home:
    """A home, and the command line for it.

    Attributes:
        path: of the home.
        image: one that is in it.
    """

    path: Path
    image: str = ""

    @property
    def environ(self) -> dict[str, str]:
        """For a process that is to use the home and its daemon."""
        return {**os.environ, "MONOCORE_HOME": str(self.path), "MONOCORE_DAEMON": "auto", **LINGER}

    @contextmanager
    def start(
        self,
        *words: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> Generator[subprocess.Popen[bytes]]:
        """Start ``monocore WORDS…``. It is killed, not waited for, when its test fails."""
        with subprocess.Popen(
            [*ARGV, *words], env=self.environ, stdin=stdin, stdout=stdout, stderr=stderr
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def run(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with self.start(*words, stdin=source) as process:
            out, err = process.communicate(stdin, timeout=2 * LIMIT)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def out(self, *words: str, stdin: bytes | None = None) -> str:
        """Run it, which must succeed; gives what it wrote."""
        ended = self.run(*words, stdin=stdin)
        assert ended.returncode == 0, (words, ended.stdout[-500:], ended.stderr.decode())
        return ended.stdout.decode()

    def close(self) -> None:
        """End the daemon, and what runs."""
        assert self.run("serve", "--stop", "--sandboxes").returncode == 0


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory, served: str) -> Iterator[Home]:
    """One that has the image; its daemon is ended when the last test is."""
    home = Home(tmp_path_factory.mktemp("daemon") / "home", served)
    home.out("pull", "-q", served)
    yield home
    home.close()


@pytest.fixture
def sandbox(home: Home) -> Iterator[str]:
    """Id of one that idles, and is removed afterwards."""
    identity = home.out("run", "-d", "-m", "96m", home.image, "sleep", "100000").strip()
    yield identity
    home.out("rm", "-f", identity)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool]], None]:
    """Look again and again, until something is so."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT
        while not holds():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.05)  # other processes' doings cannot be awaited but by looking again

    return wait
