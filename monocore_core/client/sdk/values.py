"""What the SDK gives: frozen values, made of answers without believing that everything is there."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from monocore_core.client.tables import Table, flag, inner, number, text, texts, whole
from monocore_core.errors import DeadlineExceeded, MonocoreError

#: Characters of an output that an error quotes.
QUOTED = 400


@frozen
class Result:
    """A command that has ended, with its output.

    Attributes:
        code: its exit status; 128 + *n* when signal *n* ended it, 124 when its time was up.
        reason: ``exited``, ``oom`` or ``timeout``.
        seconds: that it took.
        stdout_bytes: its standard output.
        stderr_bytes: its standard error.
        truncated: whether it wrote more than was asked for.
    """

    code: int
    reason: str = "exited"
    seconds: float = 0.0
    stdout_bytes: bytes = field(default=b"", repr=False)
    stderr_bytes: bytes = field(default=b"", repr=False)
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.code == 0

    @property
    def stdout(self) -> str:
        """Its standard output as UTF-8; what is none is replaced."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Its standard error as UTF-8; what is none is replaced."""
        return self.stderr_bytes.decode("utf-8", "replace")

    def check(self, command: tuple[str, ...]) -> Result:
        """Itself, when it is good.

        Raises:
            DeadlineExceeded: its time was up. CommandFailed: its status is not 0.
        """
        if self.reason == "timeout":
            raise DeadlineExceeded(f"{command[0]!r} was ended when its time was up")
        if not self.ok:
            raise CommandFailed(command, self)
        return self


class CommandFailed(MonocoreError):
    """A command that was to succeed has not. ``result`` is what it did."""

    code = "command-failed"

    def __init__(self, command: tuple[str, ...], result: Result) -> None:
        said = result.stderr.strip() or result.stdout.strip()
        super().__init__(
            f"{command[0]!r} ended with status {result.code}{f': {said[-QUOTED:]}' if said else ''}"
        )
        self.command = command
        self.result = result


@frozen
class Exit:
    """How a process ended.

    Attributes:
        code: exit status; 128 + *n* when signal *n* ended it.
        reason: ``exited``, ``oom``; of a sandbox's own command what ends a run: ``killed``, ``timeout``, ``idle`` and others, too.
        detail: more about it, or "".
    """

    code: int
    reason: str = "exited"
    detail: str = ""


@frozen
class Info:
    """What the daemon tells of a sandbox.

    Attributes:
        id: twelve hexadecimal digits.
        name: unique.
        image: as it was asked for.
        state: ``created``, ``starting``, ``running``, ``paused``, ``ending`` or ``exited``.
        vcpus: virtual processors.
        memory: bytes.
        ports: published, as ``0.0.0.0:8080->80/tcp``.
        labels: of whoever made it.
        end: of its latest run, or None.
        table: all that was answered (``docs/api.md``).
    """

    id: str
    name: str
    image: str
    state: str
    vcpus: int = 1
    memory: int = 0
    ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict[str, str])
    end: Exit | None = None
    table: Table = field(factory=dict[str, object], repr=False, eq=False)


@frozen
class Entry:
    """A file, folder or other entry.

    Attributes:
        name: without the folder.
        kind: ``file``, ``folder``, ``link``, ``pipe``, ``socket``, ``character-device`` or ``block-device``.
        mode: permission bits.
        size: bytes.
        uid: owner.
        gid: group.
        modified: seconds since the epoch.
        target: of a link, else None.
    """

    name: str
    kind: str
    mode: int
    size: int
    uid: int
    gid: int
    modified: float
    target: str | None = None


@frozen
class Change:
    """Something that happened below a watched path.

    Attributes:
        kind: ``created``, ``deleted``, ``modified``, ``written``, ``attributes``, ``moved-from``, ``moved-to``, ``overflow``, ``ended``.
        path: relative to the watched one.
        folder: whether it is one.
        cookie: the same for both halves of a move, else 0.
    """

    kind: str
    path: str
    folder: bool = False
    cookie: int = 0


@frozen
class Happening:
    """Something that happened in the daemon.

    Attributes:
        number: to go on after.
        time: seconds since the epoch.
        kind: what.
        sandbox: its id, or "".
        name: its name, or "".
        facts: more, by kind.
    """

    number: int
    time: float
    kind: str
    sandbox: str = ""
    name: str = ""
    facts: Table = field(factory=dict[str, object])


@frozen
class LogLine:
    """A line that a sandbox's command wrote.

    Attributes:
        stream: ``stdout`` or ``stderr``.
        time: seconds since the epoch.
        text: without its end; what is not UTF-8 is replaced.
    """

    stream: str
    time: float
    text: str


def result_of(table: Table) -> Result:
    """The answer to one command."""
    return Result(
        code=whole(table, "code", -1),
        reason=text(table, "reason", "exited"),
        seconds=number(table, "seconds"),
        stdout_bytes=_output(table, "stdout"),
        stderr_bytes=_output(table, "stderr"),
        truncated=flag(table, "truncated"),
    )


def exit_of(table: Table) -> Exit:
    """The end of a process, or of a run."""
    return Exit(whole(table, "code", -1), text(table, "reason", "exited"), text(table, "detail"))


def info_of(table: Table) -> Info:
    """A sandbox."""
    end, labels = inner(table, "end"), inner(table, "labels")
    return Info(
        id=text(table, "id"),
        name=text(table, "name"),
        image=text(table, "image"),
        state=text(table, "state"),
        vcpus=whole(table, "vcpus", 1),
        memory=whole(table, "memory"),
        ports=tuple(texts(table, "ports")),
        labels={name: value for name, value in labels.items() if isinstance(value, str)},
        end=exit_of(end) if end else None,
        table=table,
    )


def entry_of(table: Table) -> Entry:
    """An entry of a folder."""
    mode = text(table, "mode", "0")
    return Entry(
        name=text(table, "name"),
        kind=text(table, "kind", "file"),
        mode=int(mode, 8) if mode and not set(mode) - set("01234567") and len(mode) <= 8 else 0,
        size=whole(table, "size"),
        uid=whole(table, "uid"),
        gid=whole(table, "gid"),
        modified=number(table, "modified"),
        target=text(table, "target") if isinstance(table.get("target"), str) else None,
    )


def change_of(table: Table) -> Change:
    """A line of a watch."""
    return Change(text(table, "kind"), text(table, "path"), flag(table, "folder"), whole(table, "cookie"))


def happening_of(table: Table) -> Happening:
    """A line of the events."""
    return Happening(
        number=whole(table, "number"),
        time=number(table, "time"),
        kind=text(table, "kind"),
        sandbox=text(table, "sandbox"),
        name=text(table, "name"),
        facts=inner(table, "facts"),
    )


def log_line_of(table: Table) -> LogLine:
    """A line of a log."""
    data = _decoded(text(table, "base64")).decode("utf-8", "replace")
    line = text(table, "log") or data
    return LogLine(text(table, "stream", "stdout"), whole(table, "time_ns") / 1e9, line.removesuffix("\n"))


def _output(table: Table, name: str) -> bytes:
    found = table.get(name)
    return found.encode() if isinstance(found, str) else _decoded(text(table, f"{name}_base64"))


def _decoded(word: str) -> bytes:
    import base64  # noqa: PLC0415 - most output is text

    try:
        return base64.b64decode(word)
    except ValueError:
        return b""
