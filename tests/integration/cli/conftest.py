"""One registry, one image and one home for every test of the command line; the command line itself as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from monocore_core.testing.registry import LocalRegistry, registry_problem

ARGV = (sys.executable, "-m", "monocore_core")
#: Seconds for any one command line; far more than any needs, so that a hang ends.
LIMIT = 90.0

#: The namespaces of net_tap go with their last sandbox, before the test's folder does.
LINGER = {"MONOCORE_PLUGINS__NET_TAP__LINGER": "0.1"}

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


class Started(subprocess.Popen[bytes]):
    """A process that is killed, not waited for, when its test fails."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


@pytest.fixture(scope="session")
def cli_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of every command line that does not say otherwise."""
    return tmp_path_factory.mktemp("cli") / "home"


@pytest.fixture(scope="session")
def start(cli_home: Path) -> Start:
    """Starts ``monocore WORDS…``: ``with start("run", …, stdin=…) as process``; a test that fails does not wait for it."""

    @contextmanager
    def begin(
        *words: str,
        environ: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> Generator[subprocess.Popen[bytes]]:
        env = {**os.environ, "MONOCORE_HOME": str(cli_home), **LINGER, **(environ or {})}
        with subprocess.Popen([*ARGV, *words], env=env, stdin=stdin, stdout=stdout, stderr=stderr) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    return begin


@pytest.fixture(scope="session")
def monocore(start: Start) -> Run:
    """Runs ``monocore WORDS…`` to its end: status, output and error lines, as bytes."""

    def run(
        *words: str, stdin: bytes | None = None, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        with start(*words, environ=environ, stdin=source) as process:
            out, err = process.communicate(stdin, timeout=LIMIT)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def registry(local: LocalRegistry) -> str:
    """Its ``host:port``."""
    return local.address


@pytest.fixture(scope="session")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of one that wants a password."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("locked"), users={"alice": "wonderland"}) as started:
        yield started.address


@pytest.fixture(scope="session")
def image(served: str, monocore: Run) -> str:
    """The same, pulled into the common home."""
    ended = monocore("pull", "-q", served)
    assert ended.returncode == 0, ended.stderr.decode()
    return served
