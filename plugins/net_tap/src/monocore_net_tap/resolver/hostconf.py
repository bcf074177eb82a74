"""The host's own resolvers, from resolv.conf(5)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

#: systemd-resolved listens on the host's loopback, which is out of reach; here are the servers that it asks itself.
_BEHIND_RESOLVED = Path("/run/systemd/resolve/resolv.conf")
_HOST = Path("/etc/resolv.conf")
_MAX_SIZE = 64 * 1024
_MAX_SERVERS = 3


def nameservers(text: str) -> Iterator[str]:
    """Addresses of the ``nameserver`` lines that can be used from another network namespace. Pure."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ip_address(words[1])
        except ValueError:  # such as an address with a zone, fe80::1%eth0
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            yield str(address)


def host_resolvers() -> tuple[str, ...]:
    """Servers to ask, at most three."""
    for path in (_HOST, _BEHIND_RESOLVED):
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                found = tuple(nameservers(file.read(_MAX_SIZE)))
        except OSError:
            continue
        if found:
            return found[:_MAX_SERVERS]
    return ()
