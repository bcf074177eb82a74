"""How a sandbox reaches a network.

A network turns a request into a :class:`~monocore_core.model.network.Connection`: a device for the VMM to attach and a
configuration for the guest. It owns what it makes on the host (links, rules, sockets), names it after the key, and
removes exactly that.

An attachment lives until it is detached, not as long as the process that made it: sandboxes outlive the process that starts them. Who comes
after it attaches the living ones again, with equal requests, and detaches the dead.

Worked example::

    async with provider.create(host, options) as network:
        connection = await network.attach("sandbox-1", request)
        ...
        await network.detach("sandbox-1")
"""

from __future__ import annotations

from typing import Protocol

from monocore_core.model.network import Connection, NetworkRequest, NetworkStatus


class Network(Protocol):
    """Connects sandboxes. Methods may run concurrently."""

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        """Connect the sandbox ``key``.

        Repeat with an equal request: gives an equal connection, made whole where something of it is gone. With another
        request: Conflict. Partial failure and cancellation: everything made is undone, and what an earlier attachment made stays.

        Raises:
            Conflict: a published port or address is taken, and by whom.
            Unsupported: part of the request that this network cannot enforce, named.
        """
        ...

    async def detach(self, key: str) -> None:
        """Remove everything made for ``key``. An unknown key is not an error; a repeat finishes a partial removal."""
        ...

    async def keys(self) -> frozenset[str]:
        """Every key of which anything exists on the host, complete or not."""
        ...

    async def inspect(self, key: str) -> NetworkStatus | None:
        """What is known of an attached sandbox; None for an unknown key. Changes nothing of what is attached."""
        ...
