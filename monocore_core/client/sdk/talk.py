"""What is said on the WebSocket of a process (``docs/api.md``). Pure: messages in, output and an end out.

Output is kept until it is asked for. Only as much comes as the reader takes, so what is kept is what came of one output while
the other was read, and that is bounded.
"""

from __future__ import annotations

import json

from monocore_core.client.api import problem
from monocore_core.client.sdk.routes import Running
from monocore_core.client.sdk.values import Exit, exit_of
from monocore_core.client.tables import inner, parse_table, table
from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, Unreachable

IN, OUT, ERR = 0, 1, 2
#: Bytes of one output that are kept while the other is read.
MAX_KEPT = 64 * 1024 * 1024
_NAMES = {OUT: "standard output", ERR: "standard error"}


def first_of_exec(running: Running, *, stdin: bool, terminal: tuple[int, int] | None) -> str:
    """The first message: what is to be run."""
    command: dict[str, object] = {
        "args": list(running.command),
        "entrypoint": [],
        "env": [f"{name}={value}" for name, value in running.environ.items()],
        "cwd": running.cwd,
        "user": running.user,
        "stdin": stdin,
    }
    if terminal is not None:
        command["terminal"] = {"rows": terminal[0], "columns": terminal[1]}
    return json.dumps({"command": command})


def first_of_attach(*, stdin: bool) -> str:
    """The first message to a sandbox's own command."""
    return json.dumps({"stdin": stdin})


def resize(rows: int, columns: int) -> str:
    """A terminal's new size."""
    return json.dumps({"resize": [rows, columns]})


def signal(number: int) -> str:
    """A signal."""
    return json.dumps({"signal": number})


class Talk:
    """What has come of one process.

    Attributes:
        started: it runs.
        exit: how it ended, or None.
        error: why it cannot be known, or None.
    """

    def __init__(self) -> None:
        self.started = False
        self.exit: Exit | None = None
        self.error: MonocoreError | None = None
        self._kept = {OUT: bytearray(), ERR: bytearray()}
        self._ended = {OUT: False, ERR: False}

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.exit is not None or self.error is not None

    def on_text(self, data: bytes) -> None:
        """A text message."""
        told = parse_table(data)
        if "started" in told:
            self.started = True
        elif "exit" in told:
            self.exit = exit_of(inner(told, "exit"))
        elif "error" in told:
            self.error = problem(table(told["error"]))

    def on_binary(self, data: bytes) -> None:
        """A binary message.

        Raises:
            Corrupt: it is of no output. LimitExceeded: too much has come of one while the other was read.
        """
        mark = data[0] if data else -1
        if mark not in self._kept:
            raise Corrupt("the daemon sent a message of no output")
        if len(data) == 1:
            self._ended[mark] = True
        kept = self._kept[mark]
        kept += data[1:]
        if len(kept) > MAX_KEPT:
            raise LimitExceeded(
                f"more than {MAX_KEPT} bytes of {_NAMES[mark]} came unread", hint="read both outputs"
            )

    def on_end(self) -> None:
        """The connection has ended."""
        if not self.over:
            self.error = Unreachable("the connection to the daemon was lost before the command ended")

    def begun(self) -> None:
        """Nothing, when it runs.

        Raises:
            MonocoreError: it does not, and why.
        """
        if self.error is not None:
            raise self.error

    def has(self, mark: int) -> bool:
        """Whether reading that output gives something, or its end, at once."""
        return bool(self._kept[mark]) or self._ended[mark] or self.over

    def take(self, mark: int, limit: int) -> bytes:
        """What has come of that output, at most ``limit`` bytes; ``b""`` at its end.

        Raises:
            MonocoreError: it cannot come any more.
        """
        kept = self._kept[mark]
        if not kept:
            if self.error is not None:
                raise self.error
            return b""
        found = bytes(kept[:limit])
        del kept[:limit]
        return found

    def ended(self) -> Exit:
        """How it ended.

        Raises:
            MonocoreError: that is not known.
        """
        if self.exit is None:
            raise self.error or Unreachable("the command has not ended")
        return self.exit
