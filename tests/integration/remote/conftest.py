"""A daemon that listens on TCP with TLS, and a command line that has nothing of its home: a URL, a fingerprint, a token."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from attrs import evolve, field, frozen

from monocore_core.cli.main import main
from monocore_core.client.api import Api, target
from tests.integration.screen import LIMIT

ARGV = (sys.executable, "-m", "monocore_core")
_LISTENS = re.compile(r"listening on (https://\S+);.* ([0-9a-f]{64})")
#: The namespaces of net_tap go with their last sandbox, before the test's folder does.
_LINGER = {"MONOCORE_PLUGINS__NET_TAP__LINGER": "0.1"}


@frozen
class There:
    """A daemon elsewhere, and the command line for it.

    Attributes:
        url: where it is.
        fingerprint: of its certificate.
        home: of the daemon, which the command line does not have.
        mine: folder of the command line's user.
        image: one that is in the daemon's store.
        variables: that say where it is, and with which token.
    """

    url: str
    fingerprint: str
    home: Path
    mine: Path
    image: str
    variables: dict[str, str] = field(factory=dict[str, str])

    @property
    def environ(self) -> dict[str, str]:
        """For a process that has nothing of this host's daemon."""
        return {
            **os.environ,
            "MONOCORE_DAEMON": "never",
            "MONOCORE_HOME": str(self.mine / "none"),
            "XDG_CONFIG_HOME": str(self.mine / "config"),
            **self.variables,
        }

    def with_token(self, token: str) -> There:
        """By the environment."""
        variables = {
            "MONOCORE_HOST": self.url,
            "MONOCORE_TOKEN": token,
            "MONOCORE_TLS_FINGERPRINT": self.fingerprint,
        }
        return evolve(self, variables=variables)

    def token(self, *words: str) -> str:
        """A new one, made on the daemon's host."""
        name = f"t{os.urandom(4).hex()}"
        argv = [*ARGV, "token", "create", *words, name]
        environ = {**self.environ, "MONOCORE_HOME": str(self.home), "MONOCORE_HOST": ""}
        return subprocess.run(
            argv, env=environ, capture_output=True, text=True, timeout=LIMIT, check=True
        ).stdout.strip()

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
        assert not (self.mine / "none").exists(), "this host's home is no business of a command for another's"
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def out(self, *words: str, stdin: bytes | None = None) -> str:
        """Run it, which must succeed; gives what it wrote."""
        ended = self.run(*words, stdin=stdin)
        assert ended.returncode == 0, (words, ended.stdout[-500:], ended.stderr.decode())
        return ended.stdout.decode()

    def here(self, *words: str) -> tuple[int, str, str]:
        """Its status and what it says on both outputs, in this process: of what neither starts a process nor uses descriptors."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environ.items():
                patch.setenv(name, value)
            status = main(list(words))
        assert not (self.mine / "none").exists()
        return status, out.getvalue(), err.getvalue()

    def says(self, *words: str) -> str:
        """The same of what must succeed; gives what it wrote."""
        status, out, err = self.here(*words)
        assert status == 0, (words, out[-500:], err)
        return out

    def refused(self, *words: str, status: int = 125) -> str:
        """The same of what must fail in one to three lines; gives them."""
        ended, out, said = self.here(*words)
        assert ended == status, (words, out[-500:], said)
        assert 1 <= len(said.splitlines()) <= 3, said
        assert "Traceback" not in said
        return said


@pytest.fixture(scope="package")
def there(tmp_path_factory: pytest.TempPathFactory, served: str) -> Iterator[There]:
    """One for every test; its command line has a token of scope admin."""
    base = tmp_path_factory.mktemp("elsewhere")
    home, mine = base / "home", base / "mine"
    home.mkdir(mode=0o700)
    mine.mkdir()
    environ = {**os.environ, "MONOCORE_HOME": str(home), **_LINGER}
    subprocess.run([*ARGV, "pull", "-q", served], env=environ, check=True, timeout=LIMIT, capture_output=True)
    reader, writer = os.pipe()
    with (
        (home / "daemon.log").open("wb") as log,
        subprocess.Popen(
            [*ARGV, "serve", "--listen", "127.0.0.1:0", "--tls"],
            env={**environ, "MONOCORE_READY_FD": str(writer)},
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        os.close(writer)
        try:
            with os.fdopen(reader) as ready:
                said = ready.read()
            told = (home / "daemon.log").read_text()
            assert said.strip() == "ready", said + told
            found = _LISTENS.search(told)
            assert found is not None, told
            unknown = There(found[1], found[2], home, mine, served)
            yield unknown.with_token(unknown.token("--scope", "admin"))
            Api(str(home / "monocore.sock")).call("POST", target("shutdown"), {"stop": True})
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait(LIMIT)
    told = (home / "daemon.log").read_text()
    assert process.returncode == 0, told
    assert "Traceback" not in told, told


@pytest.fixture(scope="package")
def sandbox(there: There) -> Iterator[str]:
    """Name of one that idles."""
    there.out("run", "-d", "--name", "idle", "-m", "96m", there.image, "sleep", "100000")
    yield "idle"
    there.out("rm", "-f", "idle")
