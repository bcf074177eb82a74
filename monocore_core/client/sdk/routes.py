"""What the SDK asks of the daemon, as values; with :mod:`.file_routes` and :mod:`.service_routes` all of it that knows the routes (``docs/api.md``). Pure.

A :class:`~monocore_core.client.sdk.calls.Call` says what is sent and how the answer is read; :mod:`.aio` and :mod:`.blocking` send it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TypedDict

from attrs import frozen

from monocore_core.client.api import PROMPT, target
from monocore_core.client.sdk.calls import Call, nothing, same
from monocore_core.client.sdk.values import (
    Exit,
    Happening,
    Info,
    LogLine,
    Result,
    exit_of,
    happening_of,
    info_of,
    log_line_of,
    result_of,
)
from monocore_core.client.tables import Table, tables
from monocore_core.errors import Corrupt, InvalidInput

#: Seconds beyond a command's own limit until it is not waited for any more: it is killed 2 s after its time was up.
BEYOND = 60.0


class Wishes(TypedDict, total=False):
    """How a sandbox is to be; what is left out has its default. Sizes are texts (``512MiB``), or numbers of MiB; times texts (``10m``), or seconds.

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
    return Call("DELETE", target("sandboxes", identity, force=force), nothing)


def start(identity: str, checkpoint: str) -> Call[Info]:
    """Start one again."""
    body = {"checkpoint": checkpoint} if checkpoint else {}
    return Call("POST", target("sandboxes", identity, "start"), _named_info, body, timeout=None)


def stop(identity: str, grace: float | None) -> Call[Info]:
    """Stop one."""
    body = {} if grace is None else {"grace": grace}
    return Call("POST", target("sandboxes", identity, "stop"), _named_info, body, timeout=None)


def kill(identity: str, signal: int | str) -> Call[None]:
    """Send its command a signal."""
    return Call("POST", target("sandboxes", identity, "kill"), nothing, {"signal": signal})


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
    return Call("POST", target("sandboxes", identity, "commit"), same, body, timeout=None)


def fork(identity: str, count: int, name: str) -> Call[tuple[Info, ...]]:
    """Copies of it."""
    where = target("sandboxes", identity, "fork")
    body = {"count": count, "name": name}
    return Call(
        "POST", where, lambda table: tuple(map(_named_info, tables(table, "sandboxes"))), body, timeout=None
    )


def checkpoint(identity: str, name: str, *, leave_running: bool) -> Call[Table]:
    """Write it to disk."""
    body = {"name": name, "leave_running": leave_running}
    return Call("POST", target("sandboxes", identity, "checkpoints"), same, body, timeout=None)


def checkpoints(identity: str) -> Call[tuple[Table, ...]]:
    """Those that there are."""
    where = target("sandboxes", identity, "checkpoints")
    return Call("GET", where, lambda table: tuple(tables(table, "checkpoints")))


def remove_checkpoint(identity: str, name: str) -> Call[None]:
    """Remove one."""
    return Call("DELETE", target("sandboxes", identity, "checkpoints", name), nothing, timeout=None)


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
    return Call("GET", target("sandboxes", identity, "stats"), same)


def follow_stats(identity: str) -> Call[Table]:
    """The same, a line each second."""
    return Call("GET", target("sandboxes", identity, "stats", stream=True), same, timeout=None)


def logs(identity: str, *, follow: bool, tail: int | None, since: float | None) -> Call[LogLine]:
    """Lines of what its command wrote."""
    where = target("sandboxes", identity, "logs", format="json", follow=follow, tail=tail, since=since)
    return Call("GET", where, log_line_of, timeout=None if follow else PROMPT)


def events(*, after: int | None, follow: bool) -> Call[Happening]:
    """Lines of what happened."""
    return Call("GET", target("events", after=after, follow=follow), happening_of, timeout=None)


def exec_socket(identity: str) -> str:
    """The WebSocket of a further process."""
    return target("sandboxes", identity, "exec")


def attach_socket(identity: str) -> str:
    """The WebSocket of a sandbox's own command."""
    return target("sandboxes", identity, "attach")


def dial_socket(identity: str, port: int) -> str:
    """The WebSocket of a connection to a port in a sandbox."""
    return target("sandboxes", identity, "dial", port=port)


def pull(image: str, platform: str) -> Call[Table]:
    """Pull an image; lines of what happens, the last has ``done`` or ``error``."""
    body: dict[str, object] = {"image": image}
    if platform:
        body["platform"] = platform
    return Call("POST", target("images", "pull"), same, body, timeout=None)


def images() -> Call[tuple[Table, ...]]:
    """Every image."""
    return Call("GET", target("images"), lambda table: tuple(tables(table, "images")))


def image(name: str) -> Call[Table]:
    """One image."""
    return Call("GET", target("images", *name.split("/")), same)


def remove_image(name: str, *, force: bool) -> Call[Table]:
    """Remove one."""
    return Call("DELETE", target("images", *name.split("/"), force=force), same)


def about() -> Call[Table]:
    """Of the daemon: version, home, counts."""
    return Call("GET", target("info"), same)


def _named_info(table: Table) -> Info:
    found = info_of(table)
    if not found.id:
        raise Corrupt("the daemon's answer tells of no sandbox", hint="is it a daemon of monocore?")
    return found


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - of a TypedDict
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - likewise
    return value
