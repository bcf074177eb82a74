"""A home of its own with an image of this host's busybox, a project of services in it, and the command line for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from monocore_core.client.tables import Table, parse_table, whole
from monocore_core.testing.samples import busybox_image

#: Says that it has begun, and then counts, so that a gap in its log shows.
COUNTING = "trap 'exit 0' TERM; echo begun; n=0; while :; do n=$((n+1)); echo $n; sleep 1 & wait $!; done"
#: Does nothing until it is told to end.
IDLE = "trap 'exit 0' TERM; echo begun; sleep 1000000 & wait"
_SERVICE = """
[[service]]
name = "s{number}"
base = "oci:{image}:soak"
ram = 64
{group}command = ["sh", "-c", {script}]
restart = "on-failure"
depends_on = {needs}
"""


@frozen
class Home:
    """Where everything of one soak is.

    Attributes:
        folder: of the project; the home and the image are in it.
        services: how many there are.
        group: whether they are in one group, each with a network device.
        script: what each runs.
    """

    folder: Path
    services: int
    group: bool
    script: str

    @property
    def path(self) -> Path:
        """Of the home."""
        return self.folder / "home"

    @property
    def file(self) -> Path:
        """That has the services; not where commands are run, so that ``status`` tells of all projects."""
        return self.folder / "project" / "monocore.toml"

    def make(self) -> None:
        """Write the image and the project: a tree of services, each of which waits for another one."""
        busybox_image().write_layout(self.folder / "image", "soak")
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text("".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        yield 'project = "soak"\n'
        for number in range(1, self.services + 1):
            needs = [f"s{number // 4}"] if number >= 4 else []
            group = 'group = "all"\n' if self.group else ""
            yield _SERVICE.format(
                number=number,
                image=self.folder / "image",
                group=group,
                script=json.dumps(self.script),
                needs=json.dumps(needs),
            )
        if self.group:
            yield '\n[[group]]\nname = "all"\n'

    @property
    def environ(self) -> Mapping[str, str]:
        """Of its commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MONOCORE_")}
        return {**kept, "MONOCORE_HOME": str(self.path)}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command; what it tells is added to ``said.log`` in the folder."""
        with (self.folder / "said.log").open("ab") as said:
            said.write(f"$ monocore {' '.join(words)}\n".encode())
            said.flush()
            return subprocess.Popen(
                self._argv(*words),
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def run(self, *words: str) -> bytes:
        """Run a command that must succeed; gives what it wrote.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            self._argv(*words),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=1800,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(
                f"monocore {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}"
            )
        return done.stdout

    def act(self, name: str) -> list[str]:
        """The words of a command that does something with the project."""
        return [name, "-f", str(self.file)]

    def said(self, *words: str) -> Table:
        """Run a command that must succeed, and that writes a JSON object."""
        return parse_table(self.run(*words, "--json"))

    def daemon(self) -> int:
        """Its process; one that begins if there is none."""
        return whole(self.said("info"), "pid")

    @staticmethod
    def _argv(*words: str) -> list[str]:
        return [sys.executable, "-m", "monocore_core", *words]
