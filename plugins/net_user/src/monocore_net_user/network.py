"""The backend itself. Everything happens inside the VMM's process: nothing of it exists on the host but the ports it listens on.

What was handed out is written down, so that a repeat gives the same ports, whichever process asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface

from attrs import evolve

from monocore_core.errors import Conflict, Unsupported
from monocore_core.hostports import free_port, require_free
from monocore_core.interfaces.provider import Host, NetworkCapabilities
from monocore_core.model.network import (
    Connection,
    GuestNetwork,
    NetworkRequest,
    NetworkStatus,
    Publish,
    UserMode,
)
from monocore_core.model.policy import Action
from monocore_net_user.options import UserOptions
from monocore_net_user.records import Record, Records

#: The network that slirp, which QEMU uses, makes for each guest (QEMU's documentation of ``-netdev user``).
ADDRESS, GATEWAY, RESOLVER = IPv4Interface("10.0.2.15/24"), "10.0.2.2", "10.0.2.3"


class UserNetwork:
    """See :class:`~monocore_core.interfaces.network.Network`.

    Args:
        records: of what was handed out.
        options: as configured.
        capabilities: what the provider promises.
    """

    def __init__(self, records: Records, options: UserOptions, capabilities: NetworkCapabilities) -> None:
        self._records = records
        self._options = options
        self._capabilities = capabilities

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        """See the protocol."""
        reason = self._capabilities.refuse(request)
        if reason is not None:
            raise Unsupported(
                f"net_user {reason}", hint="choose --policy all, or a network that can: 'monocore plugins'"
            )
        known = self._records.read(key)
        if known is not None and known.request != request:
            raise Conflict(f"sandbox {key} is connected already, with another request")
        if known is None:
            known = Record(request, tuple(_chosen(each, self._records) for each in request.publish))
            self._records.write(key, known)
        return self._connection(key, known)

    async def inspect(self, key: str) -> NetworkStatus | None:
        """See the protocol. The VMM counts nothing."""
        known = self._records.read(key)
        if known is None:
            return None
        facts = (("address of the host", GATEWAY),)
        return NetworkStatus(key, known.request, self._connection(key, known), facts=facts)

    def _connection(self, key: str, record: Record) -> Connection:
        request, published = record.request, record.published
        isolated = request.policy.default is Action.DENY
        forwards = tuple((str(p.protocol), str(p.address), p.host, p.guest) for p in published)
        mac = mac_of(key)
        guest = GuestNetwork(
            mac=mac,
            addresses=(ADDRESS,),
            gateway4=GATEWAY,
            mtu=request.mtu or self._options.mtu,
            nameservers=() if isolated else (tuple(map(str, request.dns.servers)) or (RESOLVER,)),
            search=request.dns.search,
        )
        return Connection(UserMode(mac, forwards, restrict=isolated), guest, published)

    async def detach(self, key: str) -> None:
        """See the protocol."""
        self._records.remove(key)

    async def keys(self) -> frozenset[str]:
        """See the protocol."""
        return self._records.keys()


def mac_of(key: str) -> str:
    """A locally administered unicast address, always the same for one key."""
    digest = hashlib.sha256(key.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def _chosen(publish: Publish, records: Records) -> Publish:
    """With its port on the host, which is free, and which no sandbox has that has yet to open it."""
    if publish.address.version != 4:
        raise Unsupported(
            f"net_user publishes on IPv4 addresses only, not on {publish.address}",
            hint="for example 127.0.0.1",
        )
    if not publish.host:
        return evolve(publish, host=free_port(publish))
    holder = records.publisher(publish)
    if holder is not None:
        raise Conflict(
            f"port {publish.host}/{publish.protocol} of {publish.address} is published by sandbox {holder}",
            hint="publish on another port",
        )
    require_free(publish)
    return publish


@asynccontextmanager
async def open_network(
    host: Host, options: UserOptions, capabilities: NetworkCapabilities
) -> AsyncGenerator[UserNetwork]:
    """The backend, for as long as the context lasts."""
    yield UserNetwork(Records(host.state / "connections"), options, capabilities)
