"""The command line over a daemon that it starts itself: a home of the package's, an image in it, and nothing left at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.integration.commandline import LINGER, CommandLine
from tests.integration.screen import LIMIT


@frozen
class Home(CommandLine):
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


def machines_of(home: Home) -> set[int]:
    """QEMUs that have a file of the home open."""
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"qemu-system" not in (process / "cmdline").read_bytes():
                continue
            opened = [os.fspath(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(path.startswith(str(home.path)) for path in opened):
            found.add(int(process.name))
    return found
