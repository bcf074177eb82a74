"""The resolver among the members: who asks, whom they know, and what was opened to them."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from monocore_core.model.policy import Address
from monocore_net_tap.ground import Ground
from monocore_net_tap.members import Member
from monocore_net_tap.netlink import said
from monocore_net_tap.resolver.server import Asker, Resolver
from monocore_net_tap.resolver.upstream import Upstream

PORT = 53
_MOST_OPENED = 4096


class Names:
    """See the module.

    Args:
        ground: has the members.
        servers: of the uplink.
        learn: opens an address: key, number of the rule, address, seconds.
    """

    def __init__(
        self,
        ground: Ground,
        servers: tuple[str, ...],
        learn: Callable[[str, int, Address, int], Awaitable[None]],
    ) -> None:
        self._ground = ground
        self._learn = learn
        self._resolver = Resolver(self._who, servers, self._open, lambda: ground.hosts, Upstream())
        self._known: dict[str, Member] = {}
        self._by_address: dict[Address, Asker] = {}
        self._opened: dict[str, dict[tuple[str, Address], float]] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Listen at the gateways' addresses."""
        sockets: list[socket.socket] = []
        try:
            for gateway in self._ground.gateways:
                family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    listener = socket.socket(family, kind)
                    sockets.append(listener)
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with said(f"listen for names at {gateway}"):
                        listener.bind((str(gateway), PORT))
                        if kind == socket.SOCK_STREAM:
                            listener.listen(64)
            async with self._resolver.serve(sockets):
                yield
        finally:
            for listener in sockets:
                listener.close()

    def opened(self, member: Member) -> list[tuple[str, str, int]]:
        """(name, address, seconds left) of what names have opened to a member."""
        now = time.monotonic()
        kept = self._opened.get(member.key, {})
        return [(name, str(address), int(end - now)) for (name, address), end in kept.items() if end > now][
            :1000
        ]

    def forget(self, member: Member) -> None:
        """Of a member that has left."""
        self._opened.pop(member.key, None)
        self._resolver.forget(member.key)

    def _who(self, address: Address) -> Asker | None:
        members = self._ground.members
        if members is not self._known:
            self._known = members
            self._by_address = _askers(list(members.values()))
        return self._by_address.get(address)

    async def _open(self, asker: Asker, name: str, rule: int, address: Address, seconds: int) -> None:
        await self._learn(asker.key, rule, address, seconds)
        kept = self._opened.setdefault(asker.key, {})
        now = time.monotonic()
        kept[name, address] = now + seconds
        if len(kept) > _MOST_OPENED:
            self._opened[asker.key] = {place: end for place, end in kept.items() if end > now}


def _askers(members: list[Member]) -> dict[Address, Asker]:
    groups: dict[int, dict[str, tuple[Address, ...]]] = {}
    for member in members:
        if member.group and member.request.hostname:
            names = groups.setdefault(member.group, {})
            names[member.request.hostname.lower()] = (member.address4, member.address6)
    found: dict[Address, Asker] = {}
    for member in members:
        own: dict[str, tuple[Address, ...]] = {}
        if member.request.hostname:
            own[member.request.hostname.lower()] = (member.address4, member.address6)
        names = groups.get(member.group, own) if member.group else own
        servers = tuple(map(str, member.request.dns.servers))
        asker = Asker(member.key, member.request.policy, names, servers)
        found[member.address4] = found[member.address6] = asker
    return found
