"""A daemon that listens on TCP with TLS, and a command line that has nothing of its home: a URL, a fingerprint, a token."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from attrs import evolve, field, frozen

from monocore_core.cli.main import main
from tests.integration.commandline import ARGV, LINGER, CommandLine
from tests.integration.screen import LIMIT
from tests.integration.served import serving

_LISTENS = re.compile(r"listening on (https://\S+);.* ([0-9a-f]{64})")


@frozen
class There(CommandLine):
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

    def run(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """As of the base, and nothing of this host's may come of it."""
        ended = super().run(*words, stdin=stdin)
        assert not (self.mine / "none").exists(), "this host's home is no business of a command for another's"
        return ended

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
    environ = {**os.environ, "MONOCORE_HOME": str(home), **LINGER}
    subprocess.run([*ARGV, "pull", "-q", served], env=environ, check=True, timeout=LIMIT, capture_output=True)
    with serving(home, "--listen", "127.0.0.1:0", "--tls"):
        told = (home / "daemon.log").read_text()
        found = _LISTENS.search(told)
        assert found is not None, told
        unknown = There(found[1], found[2], home, mine, served)
        yield unknown.with_token(unknown.token("--scope", "admin"))


@pytest.fixture(scope="package")
def sandbox(there: There) -> Iterator[str]:
    """Name of one that idles."""
    there.out("run", "-d", "--name", "idle", "-m", "96m", there.image, "sleep", "100000")
    yield "idle"
    there.out("rm", "-f", "idle")
