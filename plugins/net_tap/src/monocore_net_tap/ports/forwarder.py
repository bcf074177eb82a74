"""Published ports by the binder and the relay, as an uplink uses them."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from contextlib import suppress

from monocore_core.errors import MachineError
from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.ports import binder, relay
from monocore_net_tap.ports.child import Child


class Forwarder:
    """Open it on the host, while there is one thread; :meth:`enter` it in the sandboxes' namespace."""

    def __init__(self) -> None:
        self._binder = binder.start()
        self._relay: Child | None = None
        self._numbers = itertools.count()
        self._published: dict[Publish, int] = {}

    def enter(self) -> None:
        """The namespace has been joined."""
        self._relay = relay.start()

    def publish(self, publish: Publish, to: Address) -> None:
        """Pass on what comes to a port of the host to the same protocol's port ``publish.guest`` of ``to``. A repeat is no error.

        Raises:
            Conflict, Unauthorized, NotFound: the port cannot be had.
            MachineError: a process of ours is gone.
        """
        if publish in self._published:
            return
        inside = self._inside()
        bound = binder.bind(self._binder, publish)
        number = next(self._numbers)
        try:
            relay.add(inside, number, bound, publish, to)
        finally:
            os.close(bound)
        self._published[publish] = number

    def unpublish(self, publish: Publish) -> None:
        """End it; an unknown port is no error."""
        number = self._published.pop(publish, None)
        if number is not None:
            relay.remove(self._inside(), number)

    def watch(self, ended: Callable[[], None]) -> None:
        """Call back, in the running loop, when one of the processes has ended."""
        loop = asyncio.get_running_loop()
        for each in filter(None, (self._binder, self._relay)):
            pidfd = os.pidfd_open(each.pid)

            def gone(pidfd: int = pidfd) -> None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                ended()

            loop.add_reader(pidfd, gone)

    def close(self) -> None:
        """End both processes."""
        for each in filter(None, (self._binder, self._relay)):
            with suppress(ProcessLookupError, ChildProcessError):
                each.end()

    def _inside(self) -> Child:
        if self._relay is None:
            raise MachineError("net_tap: published ports are not ready")
        return self._relay
