"""Whether this host forwards packets for others, which the uplink ``veth`` needs and never switches on. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from monocore_core.errors import MonocoreError
from monocore_net_tap.nft import Nft


def obstacle(own_prefix: str = "monocore_") -> str | None:
    """Why packets of the sandboxes would not get through this host, as half a sentence, or None.

    Args:
        own_prefix: of tables that are ours.
    """
    interfaces = _uplinks()
    if not interfaces:
        return "the host has no default route"
    for interface in sorted(interfaces):
        if _read(f"/proc/sys/net/ipv4/conf/{interface}/forwarding") != "1":
            return f"the host does not forward IPv4 on {interface} (sysctl net.ipv4.ip_forward=1 lets it)"
    return _firewall(own_prefix)


def _uplinks() -> frozenset[str]:
    """Interfaces of the default IPv4 routes; see proc_pid_net(5)."""
    found: set[str] = set()
    for line in _read("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == "00000000" and fields[7] == "00000000":
            found.add(fields[0])
    return frozenset(found)


def _firewall(own_prefix: str) -> str | None:
    """A firewall that drops what it does not know (Docker's, firewalld's) drops ours as well, whatever our tables accept."""
    try:
        nft = Nft()
        try:
            found = nft.listing("list chains")
        finally:
            nft.close()
    except MonocoreError:
        return None
    for each in found:
        chain = cast("Mapping[str, object]", each.get("chain", {}))
        if chain.get("hook") != "forward" or str(chain.get("table")).startswith(own_prefix):
            continue
        if chain.get("policy") == "drop" or chain.get("table") == "firewalld":
            return f"the firewall of the host (nft table {chain.get('family')} {chain.get('table')}) forwards for nobody it does not know"
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
