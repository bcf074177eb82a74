"""Another process that starts a machine, or connects a sandbox, as a pickled order on its input says.

The provider goes there by pickle, so its functions must be importable by name, as a plugin's are.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, Self

from attrs import frozen

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.provider import Host, NetworkProvider, VmmProvider
from monocore_core.model.machine import MachineSpec
from monocore_core.model.network import NetworkRequest

_PATIENCE = 60.0


class Then(StrEnum):
    """What the process does afterwards."""

    STAY = "stay"
    CLOSE = "close"


class Order(Protocol):
    """What another process does; picklable."""

    async def follow(self, report: Callable[[str], None]) -> None:
        """Do it, and tell of it with one word."""
        ...


@frozen
class MachineOrder:
    """Start a machine; reports its process."""

    provider: VmmProvider[object]
    options: object
    host: Host
    spec: MachineSpec
    then: Then

    async def follow(self, report: Callable[[str], None]) -> None:
        """See the protocol."""
        async with self.provider.create(self.host, self.options) as vmm:
            report(str((await vmm.start(self.spec)).pid))
            if self.then is Then.STAY:
                await asyncio.Event().wait()


@frozen
class NetworkOrder:
    """Connect a sandbox."""

    provider: NetworkProvider[object]
    options: object
    host: Host
    key: str
    request: NetworkRequest
    then: Then

    async def follow(self, report: Callable[[str], None]) -> None:
        """See the protocol."""
        async with self.provider.create(self.host, self.options) as network:
            await network.attach(self.key, self.request)
            report("0")
            if self.then is Then.STAY:
                await asyncio.Event().wait()


class Starter:
    """The process, seen from the test, when it has done what the order says; :attr:`machine` is the process of its machine.

    Example::

        async with Starter(order) as starter:
            starter.kill()
            assert await ended(starter.machine, 10)
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self.machine = 0

    async def __aenter__(self) -> Self:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {__name__} import main; main()",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        try:
            await self._begin()
        except BaseException:
            self.kill()
            await self._process.wait()
            raise
        return self

    async def _begin(self) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the process was asked for pipes")
        stdin.write(pickle.dumps(self._order))
        stdin.close()
        async with asyncio.timeout(_PATIENCE):
            line = (await stdout.readline()).decode().strip()
        if not line.isdigit():
            raise AssertionError(f"another process could not do the same: {line or '(it died)'}")
        self.machine = int(line)

    async def __aexit__(self, *error: object) -> None:
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """Kill the process, as a crash does."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def left(self) -> None:
        """Wait until it has closed its VMM and ended by itself."""
        async with asyncio.timeout(_PATIENCE):
            await self._process.wait()


def main() -> None:
    """Read the order from the standard input, and follow it."""
    order: Order = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - of the test that started us
    try:
        asyncio.run(order.follow(_report))
    except MonocoreError as error:
        _report(f"{type(error).__name__}: {error.brief}")


def _report(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
