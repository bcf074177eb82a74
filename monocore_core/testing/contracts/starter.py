"""Another process that starts a machine, as a pickled order on its input says.

The provider goes there by pickle, so its functions must be importable by name, as a plugin's are.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from enum import StrEnum
from typing import Self

from attrs import frozen

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.provider import Host, VmmProvider
from monocore_core.model.machine import MachineSpec

_PATIENCE = 60.0


class Then(StrEnum):
    """What the process does when the machine runs."""

    STAY = "stay"
    CLOSE = "close"


@frozen
class Order:
    """What to start, and what to do then."""

    provider: VmmProvider[object]
    options: object
    host: Host
    spec: MachineSpec
    then: Then


class Starter:
    """The process, seen from the test: it has started a machine, whose process is :attr:`machine`.

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
            raise AssertionError(f"a machine could not be started by another process: {line or '(it died)'}")
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


async def _start(order: Order) -> None:
    async with order.provider.create(order.host, order.options) as vmm:
        machine = await vmm.start(order.spec)
        sys.stdout.write(f"{machine.pid}\n")
        sys.stdout.flush()
        if order.then is Then.STAY:
            await asyncio.Event().wait()


def main() -> None:
    """Read the order from the standard input, and follow it."""
    order = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - of the test that started us
    if not isinstance(order, Order):
        raise TypeError("no order")
    try:
        asyncio.run(_start(order))
    except MonocoreError as error:
        sys.stdout.write(f"{type(error).__name__}: {error.brief}\n")
