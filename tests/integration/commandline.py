"""The command line as its users have it: a process, with an environment that says which daemon it is for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from tests.integration.screen import LIMIT

ARGV = (sys.executable, "-m", "monocore_core")
#: The namespaces of net_tap go with their last sandbox, before the test's folder does.
LINGER = {"MONOCORE_PLUGINS__NET_TAP__LINGER": "0.1"}


class CommandLine:
    """Starts ``monocore``; those that inherit say with which environment."""

    @property
    def environ(self) -> Mapping[str, str]:
        """Of its processes."""
        raise NotImplementedError

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
