"""From the parsed flags of ``run`` to its order, as values: for a run without a daemon, and to say what is wrong in the words of the flags."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from monocore_core.cli import terminal
from monocore_core.cli.asking import entrypoint_of, environment_of
from monocore_core.cli.lasting import lasting_of
from monocore_core.cli.networking import network_of
from monocore_core.cli.order import Order
from monocore_core.model.guest import TerminalSize, TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest
from monocore_core.model.volume import VolumeMount


def order_of(parsed: argparse.Namespace, operands: Sequence[str], environ: Mapping[str, str]) -> Order:
    """The order that parsed flags and operands mean.

    Raises:
        InvalidInput: a value is out of bounds; NotFound: an environment file is not there.
    """
    image, *args = operands
    sandbox = SandboxRequest(
        image=image,
        platform=parsed.platform or Platform.host(),
        pull=PullPolicy(parsed.pull),
        name=parsed.name or "",
        hostname=parsed.hostname or "",
        vcpus=parsed.cpus,
        memory=parsed.memory,
        disk=parsed.disk,
        readonly=parsed.read_only,
        tmpfs=tmpfs_of(parsed),
        network=network_of(parsed),
        volumes=volumes_of(parsed),
    )
    command = CommandRequest(
        args=tuple(args),
        entrypoint=entrypoint_of(parsed.entrypoint),
        env=environment_of(parsed, environ),
        cwd=parsed.workdir or "",
        user=parsed.user or "",
        terminal=TerminalSize(*terminal.terminal_size()) if parsed.tty else None,
        stdin=parsed.interactive,
        rlimits=parsed.ulimit,
    )
    return Order(
        sandbox=sandbox,
        command=command,
        interactive=parsed.interactive,
        timeout=parsed.timeout,
        quiet=parsed.quiet,
        timing=parsed.timing,
        lasting=lasting_of(parsed),
    )


def tmpfs_of(parsed: argparse.Namespace) -> tuple[TmpfsMount, ...]:
    """Of ``--tmpfs`` and ``--mount``."""
    return (*parsed.tmpfs, *(one for one in parsed.mount if isinstance(one, TmpfsMount)))


def volumes_of(parsed: argparse.Namespace) -> tuple[VolumeMount, ...]:
    """Of ``-v`` and ``--mount``."""
    return (*parsed.volume, *(one for one in parsed.mount if isinstance(one, VolumeMount)))
