"""Who gets which number, address and pool. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from monocore_core.errors import Conflict, InvalidInput, LimitExceeded
from monocore_core.model.policy import Address

#: Private networks that few others use; the first that overlaps nothing of the host is taken.
CANDIDATES = tuple(
    IPv4Network((int(IPv4Address("10.0.0.0")) + (second << 16), 16)) for second in range(209, 120, -1)
)
#: Ports of the uplink's address at which the host's end delivers published ports; below the kernel's own choice (32768).
RELAYS = range(10000, 32000)
#: Addresses at the end of the pool that the uplink uses.
_KEPT = 8
#: Interfaces of one bridge (BR_MAX_PORTS of the kernel's net/bridge/br_private.h).
MAX_MEMBERS = 1000


def choose_pool(taken: Collection[IPv4Network]) -> IPv4Network:
    """A pool that overlaps nothing of these.

    Raises:
        Conflict: everything is taken.
    """
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(network) for network in taken if network.prefixlen):
            return candidate
    raise Conflict(
        "every network that could be used is in use on this host", hint="choose one: [plugins.net_tap] pool"
    )


def pool6(seed: bytes) -> IPv6Network:
    """A unique local network of our own (RFC 4193): ``fd``, 40 bits of the seed's digest, subnet 0."""
    bits = int.from_bytes(hashlib.sha256(seed).digest()[:5], "big")
    return IPv6Network((((0xFD << 40 | bits) << 16) << 64, 64))


def gateway4(pool: IPv4Network) -> IPv4Address:
    """The address of ours that sandboxes see."""
    return pool[1]


def gateway6(pool: IPv6Network) -> IPv6Address:
    """The address of ours that sandboxes see."""
    return pool[1]


def uplink4(pool: IPv4Network) -> tuple[IPv4Address, IPv4Address]:
    """Addresses of the host's end and of ours, in a network of /30."""
    return pool[-3], pool[-2]


def uplink6(pool: IPv6Network) -> tuple[IPv6Address, IPv6Address]:
    """Addresses of the host's end and of ours, in a network of /126."""
    return pool[-3], pool[-2]


def number(taken: Collection[int]) -> int:
    """The lowest free number, from 1.

    Raises:
        LimitExceeded: there are too many sandboxes.
    """
    free = next(one for one in range(1, len(taken) + 2) if one not in taken)
    if free > MAX_MEMBERS * 50:
        raise LimitExceeded(f"{len(taken)} sandboxes are connected, more than one host can connect")
    return free


def address4(pool: IPv4Network, member: int, taken: Collection[IPv4Address]) -> IPv4Address:
    """Of a member, by its number where that one is free.

    Raises:
        LimitExceeded: the pool is empty.
    """
    size = pool.num_addresses - 2 - _KEPT
    for step in range(size):
        found = pool[2 + (member - 1 + step) % size]
        if found not in taken:
            return found
    raise LimitExceeded(f"no address is left of {pool}", hint="choose a larger one: [plugins.net_tap] pool")


def address6(pool: IPv6Network, member: int, taken: Collection[IPv6Address]) -> IPv6Address:
    """Of a member, by its number where that one is free."""
    return next(
        found for step in range(len(taken) + 1) if (found := pool[0x100 + member + step]) not in taken
    )


def wanted(
    addresses: Iterable[Address], pool: IPv4Network, six: IPv6Network, taken: Collection[Address]
) -> tuple[IPv4Address | None, IPv6Address | None]:
    """The addresses that a request names.

    Raises:
        InvalidInput: one is not in the pool, or there are two of a version.
        Conflict: one is another sandbox's.
    """
    four: IPv4Address | None = None
    sixth: IPv6Address | None = None
    for address in addresses:
        inside = address in pool if isinstance(address, IPv4Address) else address in six
        kept = set(uplink4(pool)) | set(uplink6(six)) | {pool[0], pool[1], pool[-1], six[0], six[1]}
        if not inside or address in kept:
            raise InvalidInput(
                f"{address} cannot be a sandbox's address here",
                hint=f"choose one of {pool} or {six}, but for the first and the last; [plugins.net_tap] pool sets them",
            )
        if address in taken:
            raise Conflict(f"{address} is another sandbox's address")
        if (four if isinstance(address, IPv4Address) else sixth) is not None:
            raise InvalidInput(f"a sandbox has one address of each version; {address} is a second one")
        if isinstance(address, IPv4Address):
            four = address
        else:
            sixth = address
    return four, sixth


def mac_of(home: bytes, key: str) -> str:
    """A locally administered unicast address, always the same for one key."""
    digest = hashlib.sha256(home + b"\0" + key.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def relay(taken: Collection[int]) -> int:
    """A free relay port.

    Raises:
        LimitExceeded: there is none.
    """
    for port in RELAYS:
        if port not in taken:
            return port
    raise LimitExceeded(f"{len(taken)} ports are published already, more than one host can publish")


def slirp_networks(taken: Collection[IPv4Network]) -> Iterator[IPv4Network]:
    """Networks of /24 for slirp's end of the uplink, those first that overlap nothing; its own habit is the first."""
    candidates = [IPv4Network(f"10.0.{third}.0/24") for third in (2, *range(200, 250))]
    free = [one for one in candidates if not any(one.overlaps(other) for other in taken if other.prefixlen)]
    return iter([*free, *candidates])
