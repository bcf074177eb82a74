"""What of a jail this host gives, found by making one."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from monocore_core.errors import MachineError, MonocoreError
from monocore_core.jail.build import launcher
from monocore_core.jail.description import Jail, Namespaces
from monocore_core.jail.identities import allocate, release
from monocore_core.jail.jailer import may_become_others
from monocore_core.jail.seccomp import Calls
from monocore_core.jail.start import start
from monocore_core.jail.syscalls import NUMBERS
from monocore_core.model.security import Layer


def survey(cache: Path | None = None) -> tuple[frozenset[Layer], str]:
    """Make a jail in which nothing happens; gives its layers, and why there are no more, or "". Takes some milliseconds; blocking.

    Args:
        cache: folder for the launcher, where it has to be built; None: one that is gone again, so that nothing is written.
    """
    return asyncio.run(_survey(cache))


async def _survey(cache: Path | None) -> tuple[frozenset[Layer], str]:
    problem = ""
    with tempfile.TemporaryDirectory(prefix="monocore-jail-") as stage:
        try:
            program = launcher(cache or Path(stage))
            identity = allocate() if may_become_others() else None
        except MonocoreError as error:
            return frozenset(), error.brief
        try:
            namespaces = Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.NETWORK
            namespaces |= Namespaces.IPC | Namespaces.UTS
            if identity is None:
                namespaces |= Namespaces.USER
            jail = Jail(namespaces, Path(stage), Calls(frozenset(NUMBERS)), identity, shown=(program,))
            for attempt in (jail, jail.without_namespaces()):
                try:
                    return await _tried(program, attempt), problem
                except MachineError as error:
                    problem = problem or error.brief
        finally:
            release(identity)
    return frozenset(), problem


async def _tried(program: Path, jail: Jail) -> frozenset[Layer]:
    """Of a jail whose program does nothing."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        jailed = await start(program, jail, [os.fspath(program)], stderr=null, inherit=(), tied=True)
    finally:
        os.close(null)
    await jailed.process.wait()
    if jailed.process.status:
        raise MachineError(f"a program in it ends with status {jailed.process.status}")
    return jailed.layers
