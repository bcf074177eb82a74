"""From the parsed flags of ``run`` to the order that the daemon is sent, as plain data. :mod:`.ordering` makes the same of them as values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from monocore_core.cli import values
from monocore_core.cli.lasting import Lasting, lasting_of
from monocore_core.cli.networks import asks_network
from monocore_core.client.tables import Table


class Asked(SimpleNamespace):
    """One ``run``. No attrs class: its import takes longer than a daemon to answer.

    Attributes:
        image: as it was written.
        sandbox: a ``SandboxRequest``, plain; what no flag speaks of is left out.
        command: a ``CommandRequest``, plain.
        interactive: our standard input goes to the process.
        terminal: it has one.
        timeout: seconds the command may take, or None.
        quiet: no progress of a pull.
        timing: say how long each stage took.
        lasting: what only the daemon does.
        pull: when to ask the image's source.
        memory: bytes of the guest.
    """

    image: str
    sandbox: Table
    command: Table
    interactive: bool
    terminal: bool
    timeout: float | None
    quiet: bool
    timing: bool
    lasting: Lasting
    pull: str
    memory: int


def asked_of(parsed: argparse.Namespace, operands: Sequence[str], environ: Mapping[str, str]) -> Asked:
    """What parsed flags and operands ask.

    Raises:
        InvalidInput: a value makes no sense; NotFound: an environment file is not there.
    """
    image, *args = operands
    return Asked(
        image=image,
        sandbox=_sandbox(parsed, image),
        command=_command(parsed, args, environ),
        interactive=parsed.interactive,
        terminal=parsed.tty,
        timeout=parsed.timeout,
        quiet=parsed.quiet,
        timing=parsed.timing,
        lasting=lasting_of(parsed),
        pull=parsed.pull,
        memory=parsed.memory,
    )


def entrypoint_of(text: str | None) -> tuple[str, ...] | None:
    """Of ``--entrypoint``: None when it was not given, nothing when it is empty."""
    if text is None:
        return None
    return (text,) if text else ()


def environment_of(parsed: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Of ``-e`` and ``--env-file``: files first, so that flags win over them."""
    files = [line for name in parsed.env_file for line in values.read_env_file(name, environ)]
    flags = [values.expand_env(text, environ) for text in parsed.env]
    return (*files, *(variable for variable in flags if variable is not None))


def _sandbox(parsed: argparse.Namespace, image: str) -> Table:
    table: dict[str, object] = {
        "image": image,
        "pull": parsed.pull,
        "name": parsed.name or "",
        "hostname": parsed.hostname or "",
        "vcpus": parsed.cpus,
        "memory": parsed.memory,
        "disk": parsed.disk,
        "readonly": parsed.read_only,
        "foreground": False,
    }
    if parsed.platform is not None:
        table["platform"] = str(parsed.platform)
    if parsed.tmpfs or parsed.volume or parsed.mount:
        from monocore_core.cli.ordering import tmpfs_of, volumes_of
        from monocore_core.client.orders import plain

        table |= {"tmpfs": plain(tmpfs_of(parsed)), "volumes": plain(volumes_of(parsed))}
    if asks_network(parsed):
        from monocore_core.cli.networking import network_of
        from monocore_core.client.orders import plain

        table["network"] = plain(network_of(parsed))
    return table


def _command(parsed: argparse.Namespace, args: Sequence[str], environ: Mapping[str, str]) -> Table:
    table: dict[str, object] = {
        "args": list(args),
        "entrypoint": entrypoint_of(parsed.entrypoint),
        "env": environment_of(parsed, environ),
        "cwd": parsed.workdir or "",
        "user": parsed.user or "",
        "terminal": _terminal() if parsed.tty else None,
        "stdin": parsed.interactive,
    }
    if parsed.ulimit:
        from monocore_core.client.orders import plain

        table["rlimits"] = plain(parsed.ulimit)
    return table


def _terminal() -> Table:
    from monocore_core.cli.terminal import table_of_size

    return table_of_size()
