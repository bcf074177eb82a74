"""What the SDK asks of the daemon, as values; the one module of it that knows the routes (``docs/api.md``). Pure.

A :class:`Call` says what is sent and how the answer is read; :mod:`.aio` and :mod:`.blocking` send it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypedDict, TypeVar

from attrs import frozen

from monocore_core.client.api import PROMPT, target
from monocore_core.client.sdk.values import (
    Change,
    Entry,
    Exit,
    Happening,
    Info,
    LogLine,
    Result,
    change_of,
    entry_of,
    exit_of,
    happening_of,
    info_of,
    log_line_of,
    result_of,
)
from monocore_core.client.tables import Table, tables, text
from monocore_core.errors import Corrupt, InvalidInput

T = TypeVar("T")
_Body = Mapping[str, object]
#: Entries that are asked for at once.
PAGE = 1000
#: Seconds beyond a command's own limit until it is not waited for any more: it is killed 2 s after its time was up.
BEYOND = 60.0


class Wishes(TypedDict, total=False):
    """How a sandbox is to be; what is left out has its default. Sizes are texts (``512MiB``), or bytes; times texts (``10m``), or seconds.

    Attributes:
        command: what it runs, and when that ends, it ends; ``[]``: the image's own. Left out: it runs until it is stopped.
        entrypoint: replaces the image's.
        name: unique; its id where it is left out.
        hostname: of the guest.
        memory: 512 MiB.
        cpus: virtual processors: 1.
        cpu_fraction: host processors' worth of time that they may use together.
        disk: size of a disk for writes; in memory where it is left out.
        read_only: no writes to the image's file system.
        tmpfs: file systems in memory.
        environ: variables of its commands, over the image's.
        workdir: folder of its command.
        user: of its command.
        volumes: ``/host:/guest[:ro]``, ``name:/guest``; paths are those of the daemon's host.
        ports: published: ``8080:80``.
        network: ``none``, ``public``, ``local``, ``all``; ``none`` where no ports are asked for.
        group: of the networks.
        labels: for people and programs.
        timeout: after which it is ended.
        idle_timeout: without output, commands or anybody attached after which it is stopped.
        stop_signal: sent first to end it.
        stop_grace: until it is ended by force.
        platform: of the image.
        pull: ``missing``, ``always`` or ``never``.
        remove: its record and log go when it ends.
    """

    command: Sequence[str]
    entrypoint: Sequence[str]
    name: str
    hostname: str
    memory: str | int
    cpus: int
    cpu_fraction: float
    disk: str | int
    read_only: bool
    tmpfs: Sequence[str]
    environ: Mapping[str, str]
    workdir: str
    user: str
    volumes: Sequence[str]
    ports: Sequence[str | int]
    network: str
    group: str
    labels: Mapping[str, str]
    timeout: str | float
    idle_timeout: str | float
    stop_signal: str
    stop_grace: str | float
    platform: str
    pull: str
    remove: bool


@frozen
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: of HTTP.
        where: path and query, quoted.
        read: the value of the answer's table; of a stream, of one line's.
        body: sent as JSON; None: nothing.
        timeout: seconds that the daemon may be silent; None: as long as it takes.
    """

    method: str
    where: str
    read: Callable[[Table], T]
    body: _Body | None = None
    timeout: float | None = PROMPT


def create(image: str, wishes: Wishes) -> Call[Info]:
    """A sandbox that runs. Pulls what is missing, which takes as long as it takes."""
    body = {"image": image, **{name: _plain(value) for name, value in wishes.items()}}
    return Call("POST", target("sandboxes"), _named_info, body, timeout=None)


def get(identity: str) -> Call[Info]:
    """A sandbox, by id, the beginning of it, or name."""
    return Call("GET", target("sandboxes", identity), _named_info)


def list_sandboxes(*, everything: bool, labels: Mapping[str, str]) -> Call[tuple[Info, ...]]:
    """Sandboxes: those that run, or all."""
    words = [f"{name}={value}" for name, value in labels.items()]
    where = target("sandboxes", all=everything, label=words)
    return Call("GET", where, lambda table: tuple(map(info_of, tables(table, "sandboxes"))))


def remove(identity: str, *, force: bool) -> Call[None]:
    """Forget one; stopped first with ``force``."""
    return Call("DELETE", target("sandboxes", identity, force=force), _nothing)


def start(identity: str) -> Call[Info]:
    """Start one again."""
    return Call("POST", target("sandboxes", identity, "start"), _named_info, {}, timeout=None)


def stop(identity: str, grace: float | None) -> Call[Info]:
    """Stop one."""
    body = {} if grace is None else {"grace": grace}
    return Call("POST", target("sandboxes", identity, "stop"), _named_info, body, timeout=None)


def kill(identity: str, signal: int | str) -> Call[None]:
    """Send its command a signal."""
    return Call("POST", target("sandboxes", identity, "kill"), _nothing, {"signal": signal})


def wait(identity: str) -> Call[Exit]:
    """How its run ended, when it has."""
    return Call("POST", target("sandboxes", identity, "wait"), exit_of, {}, timeout=None)


def pause(identity: str) -> Call[Info]:
    """Stop its processors."""
    return Call("POST", target("sandboxes", identity, "pause"), _named_info, {})


def resume(identity: str) -> Call[Info]:
    """Let them go on."""
    return Call("POST", target("sandboxes", identity, "resume"), _named_info, {})


def commit(identity: str, image: str, *, message: str, author: str, changes: Sequence[str]) -> Call[Table]:
    """An image of it."""
    body = {"image": image, "message": message, "author": author, "changes": list(changes)}
    return Call("POST", target("sandboxes", identity, "commit"), _same, body, timeout=None)


@frozen
class Running:
    """How a command is run.

    Attributes:
        command: words; the image's entrypoint is no part of it.
        environ: over the image's.
        cwd: "" for the image's.
        user: "" for the image's.
    """

    command: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: str = ""
    user: str = ""

    @classmethod
    def of(cls, command: tuple[str, ...], environ: Mapping[str, str] | None, cwd: str, user: str) -> Running:
        """Checked.

        Raises:
            InvalidInput: there is no command.
        """
        if not command:
            raise InvalidInput("there is no command to run", hint='for example run("ls", "-l")')
        return cls(command, dict(environ or {}), cwd, user)

    @classmethod
    def streamed(
        cls, command: tuple[str, ...], environ: Mapping[str, str] | None, cwd: str, user: str, *, stream: bool
    ) -> Running:
        """Of a process with streams.

        Raises:
            InvalidInput: there is no command, or they are not wanted.
        """
        if not stream:
            raise InvalidInput("exec gives the streams of a process", hint="run(…) collects its output")
        return cls.of(command, environ, cwd, user)


def run(
    identity: str,
    running: Running,
    *,
    stdin: str | bytes | None,
    timeout: float | None,
    max_output: int | None,
) -> Call[Result]:
    """One command, with its output in the answer; it is ended when the connection is lost."""
    body: dict[str, object] = {
        "command": list(running.command),
        "environ": dict(running.environ),
        "cwd": running.cwd,
        "user": running.user,
    }
    if isinstance(stdin, str):
        body["stdin"] = stdin
    elif stdin is not None:
        body["stdin_base64"] = base64.b64encode(stdin).decode()
    if timeout is not None:
        body["timeout"] = timeout
    if max_output is not None:
        body["max_output"] = max_output
    limit = None if timeout is None else timeout + BEYOND
    return Call("POST", target("sandboxes", identity, "exec"), result_of, body, limit)


def stats(identity: str) -> Call[Table]:
    """What it uses (``docs/logs-and-metrics.md``)."""
    return Call("GET", target("sandboxes", identity, "stats"), _same)


def follow_stats(identity: str) -> Call[Table]:
    """The same, a line each second."""
    return Call("GET", target("sandboxes", identity, "stats", stream=True), _same, timeout=None)


def logs(identity: str, *, follow: bool, tail: int | None, since: float | None) -> Call[LogLine]:
    """Lines of what its command wrote."""
    where = target("sandboxes", identity, "logs", format="json", follow=follow, tail=tail, since=since)
    return Call("GET", where, log_line_of, timeout=None if follow else PROMPT)


def events(*, after: int | None, follow: bool) -> Call[Happening]:
    """Lines of what happened."""
    return Call("GET", target("events", after=after, follow=follow), happening_of, timeout=None)


def file(identity: str, path: str) -> str:
    """Where the content of a file is read."""
    return target("sandboxes", identity, "files", path=path)


def written_file(identity: str, path: str, *, mode: int | None, parents: bool) -> str:
    """Where a file is written."""
    octal = None if mode is None else f"{mode:o}"
    return target("sandboxes", identity, "files", path=path, mode=octal, parents=parents)


def archive(identity: str, path: str) -> str:
    """Where a tar of a path is read, and one is unpacked."""
    return target("sandboxes", identity, "archive", path=path)


def remove_file(identity: str, path: str, *, recursive: bool) -> Call[None]:
    """Remove a file or folder."""
    return Call("DELETE", target("sandboxes", identity, "files", path=path, recursive=recursive), _nothing)


def list_files(identity: str, path: str, after: str | None) -> Call[tuple[tuple[Entry, ...], str | None]]:
    """A page of a folder's entries, and where the next begins, or None."""
    where = target("sandboxes", identity, "files", "list", path=path, after=after, limit=PAGE)

    def read(table: Table) -> tuple[tuple[Entry, ...], str | None]:
        found = tuple(map(entry_of, tables(table, "entries")))
        following = text(table, "after") or None
        if following is not None and following == after:
            raise Corrupt("the daemon's list of files does not end")
        return found, following

    return Call("GET", where, read)


def stat(identity: str, path: str, *, follow: bool) -> Call[Entry]:
    """One entry; ``follow``: of a link what it leads to."""
    where = target("sandboxes", identity, "files", "stat", path=path, follow=None if follow else 0)
    return Call("GET", where, entry_of)


def make_folder(identity: str, path: str, *, parents: bool, mode: int | None) -> Call[None]:
    """Make a folder."""
    body: dict[str, object] = {"path": path, "parents": parents}
    if mode is not None:
        body["mode"] = f"{mode:o}"
    return Call("POST", target("sandboxes", identity, "files", "folder"), _nothing, body)


def move_file(identity: str, source: str, to: str, *, replace: bool) -> Call[None]:
    """Rename."""
    body = {"from": source, "to": to, "replace": replace}
    return Call("POST", target("sandboxes", identity, "files", "move"), _nothing, body)


def watch(identity: str, path: str, *, recursive: bool) -> Call[Change]:
    """Lines of changes."""
    where = target("sandboxes", identity, "files", "watch", path=path, recursive=recursive)
    return Call("GET", where, change_of, timeout=None)


def exec_socket(identity: str) -> str:
    """The WebSocket of a further process."""
    return target("sandboxes", identity, "exec")


def attach_socket(identity: str) -> str:
    """The WebSocket of a sandbox's own command."""
    return target("sandboxes", identity, "attach")


def dial_socket(identity: str, port: int) -> str:
    """The WebSocket of a connection to a port in a sandbox."""
    return target("sandboxes", identity, "dial", port=port)


@frozen
class Up:
    """How services are brought up.

    Attributes:
        services: these, and what they depend on; all when there are none.
        profiles: that are on.
        recreate: also what has not changed.
        remove_orphans: remove what the project does not have any more.
        wait: until they are healthy.
    """

    services: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    recreate: bool = False
    remove_orphans: bool = False
    wait: bool = False


def up(project: str | Path | Table, wanted: Up) -> Call[Table]:
    """Bring services up, of a file of this host or of a document; lines of what happens, the last has ``done`` or ``error``."""
    body: dict[str, object] = {
        "services": list(wanted.services),
        "profiles": list(wanted.profiles),
        "recreate": wanted.recreate,
        "remove_orphans": wanted.remove_orphans,
        "wait": wanted.wait,
    }
    if isinstance(project, str | Path):
        body.update(file=str(Path(project).absolute()), environ=dict(os.environ))
    else:
        body["document"] = dict(project)
    return Call("POST", target("projects", "up"), _same, body, timeout=None)


def of_project(project: str, verb: str, services: Sequence[str], *, force: bool = False) -> Call[Table]:
    """``down``, ``restart`` or ``remove``; lines likewise."""
    body: dict[str, object] = {"services": list(services)}
    if force:
        body["force"] = True
    return Call("POST", target("projects", project, verb), _same, body, timeout=None)


def project(name: str) -> Call[Table]:
    """A project's status."""
    return Call("GET", target("projects", name), _same)


def projects() -> Call[tuple[Table, ...]]:
    """Every project's status."""
    return Call("GET", target("projects"), lambda table: tuple(tables(table, "projects")))


def pull(image: str, platform: str) -> Call[Table]:
    """Pull an image; lines of what happens, the last has ``done`` or ``error``."""
    body: dict[str, object] = {"image": image}
    if platform:
        body["platform"] = platform
    return Call("POST", target("images", "pull"), _same, body, timeout=None)


def images() -> Call[tuple[Table, ...]]:
    """Every image."""
    return Call("GET", target("images"), lambda table: tuple(tables(table, "images")))


def image(name: str) -> Call[Table]:
    """One image."""
    return Call("GET", target("images", *name.split("/")), _same)


def remove_image(name: str, *, force: bool) -> Call[Table]:
    """Remove one."""
    return Call("DELETE", target("images", *name.split("/"), force=force), _same)


def about() -> Call[Table]:
    """Of the daemon: version, home, counts."""
    return Call("GET", target("info"), _same)


def _named_info(table: Table) -> Info:
    found = info_of(table)
    if not found.id:
        raise Corrupt("the daemon's answer tells of no sandbox", hint="is it a daemon of monocore?")
    return found


def _nothing(table: Table) -> None:
    del table


def _same(table: Table) -> Table:
    return table


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - of a TypedDict
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - likewise
    return value
