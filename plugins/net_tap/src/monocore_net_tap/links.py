"""Bridges, taps, addresses and routes inside the namespace of the sandboxes, by netlink.

A tap is an *isolated* port of its group's bridge: no frame goes from one port to another, and nothing is flooded. The bridge has
the gateway's address, a permanent neighbour and a host route for each member: whatever one sandbox sends to another is routed,
and so passes the packet filter. See the kernel's documentation of bridges (``IFLA_BRPORT_ISOLATED``) and rtnetlink(7).

Every method is a repeat when it is called again. One thread.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from monocore_core.errors import MachineError, Unauthorized
from monocore_core.model.network import Traffic
from monocore_core.model.policy import Address
from monocore_net_tap import batch, netlink, syscalls
from monocore_net_tap.batch import Batch
from monocore_net_tap.members import Member, Scene
from monocore_net_tap.netlink import ignoring_absence, index_of, said

_NODAD = 0x02  # IFA_F_NODAD: nobody else can have the address
_GROUP_MAC = "02:6d:63:00:{high:02x}:{low:02x}"
#: A queue of a fifth of a second; what may exceed the limit at once, an eighth of a second's worth: a sender that was not scheduled catches up.
_LATENCY = "200ms"
_LEAST_BURST, _BURSTS = 128 * 1024, 8
#: Of the limit: tbf counts Ethernet's and IP's headers, which are about a twentieth of full packets.
_PART = 1.02


class Links:
    """The interfaces of the namespace that this process is in."""

    def __init__(self) -> None:
        self._ip = netlink.connect()
        self._batch = Batch()
        #: Name and index of the bridges that are as they should be.
        self._bridges: dict[str, int] = {}

    def close(self) -> None:
        """Close the netlink sockets."""
        self._ip.close()
        self._batch.close()

    def begin(self, gateways: Sequence[Address]) -> None:
        """Forward packets in this namespace, let no interface configure itself, and have the gateways' addresses before any bridge."""
        _sysctl("net/ipv4/ip_forward", "1")
        _sysctl("net/ipv6/conf/all/forwarding", "1")
        for family, name, value in (
            ("ipv6", "accept_ra", "0"),
            ("ipv6", "autoconf", "0"),
            ("ipv4", "send_redirects", "0"),
            ("ipv4", "accept_redirects", "0"),
            ("ipv6", "accept_redirects", "0"),
            ("ipv4", "rp_filter", "1"),
        ):
            for scope in ("all", "default"):
                _sysctl(f"net/{family}/conf/{scope}/{name}", value)
        with said("bring up the loopback"):
            self._ip.link("set", index=1, state="up")
            for address in gateways:
                # without the flag an IPv6 address is tentative for a moment, and nobody can listen at it
                flags = {"flags": _NODAD} if address.version == 6 else {}
                self._ip.addr(
                    "replace", index=1, address=str(address), prefixlen=address.max_prefixlen, **flags
                )

    def names(self) -> frozenset[str]:
        """Every interface."""
        return frozenset(name for _, name in socket.if_nameindex())

    def bridge(self, scene: Scene, group: int, mtu: int) -> int:
        """Make a group's bridge; gives its index."""
        name = f"g{group}"
        with said(f"make the bridge {name}"):
            index = index_of(name)
            if index and self._bridges.get(name) == index:
                return index
            if not index:
                self._ip.link(
                    "add", ifname=name, kind="bridge", br_forward_delay=0, br_mcast_snooping=0, br_stp_state=0, mtu=mtu,
                    address=_GROUP_MAC.format(high=group >> 8, low=group & 255),
                )  # fmt: skip
                index = index_of(name)
            four, six = scene.gateways
            self._ip.link("set", index=index, state="up")
            self._ip.addr("replace", index=index, address=str(four), prefixlen=32)
            self._ip.addr("replace", index=index, address=str(six), prefixlen=128, flags=_NODAD)
        self._bridges[name] = index
        return index

    def attach(self, scene: Scene, member: Member, mtu: int) -> int | None:
        """Make a member's tap and all that leads to it; gives its descriptor, None when a VMM has the tap open."""
        bridge = self.bridge(scene, member.group, mtu)
        with said(f"make the tap {member.tap}"):
            descriptor = self._tap(member)
            try:
                index = index_of(member.tap)
                entry = batch.forwarding_entry(index, bytes.fromhex(member.mac.replace(":", "")))
                self._batch.run([*batch.port(index, bridge, mtu), entry, *_entries(member, bridge)])
                self._limit(index, member.request.limits.download)
            except BaseException:
                if descriptor is not None:
                    os.close(descriptor)
                raise
        return descriptor

    def detach(self, member: Member) -> None:
        """Remove a member's tap, route and neighbour; what is gone already is no error."""
        with said(f"remove the tap {member.tap}"):
            bridge, tap = index_of(member.bridge), index_of(member.tap)
            found = [batch.removal(each) for each in _entries(member, bridge)] if bridge else []
            if tap:
                found.append(batch.interface_removed(tap))
            self._batch.run(found, ignoring=netlink.GONE)

    def remove(self, name: str) -> None:
        """Remove an interface; an absent one is no error."""
        with said(f"remove {name}"):
            index = index_of(name)
            if index:
                ignoring_absence(partial(self._ip.link, "del", index=index))

    def traffic(self, member: Member) -> Traffic | None:
        """A member's counters: what the tap sends is what the sandbox receives."""
        index = index_of(member.tap)
        if not index:
            return None
        with said(f"read the counters of {member.tap}"):
            found = next(iter(self._ip.get_links(index))).get_attr("IFLA_STATS64")
        counters = cast("Mapping[str, int]", found)
        return Traffic(
            received_bytes=counters["tx_bytes"],
            received_packets=counters["tx_packets"],
            sent_bytes=counters["rx_bytes"],
            sent_packets=counters["rx_packets"],
        )

    def _tap(self, member: Member) -> int | None:
        try:
            descriptor = syscalls.open_tap(member.tap)
        except PermissionError as error:
            raise Unauthorized(
                f"{syscalls.TUN} may not be opened: {error.strerror}", hint=f"chmod 0666 {syscalls.TUN}"
            ) from error
        except OSError as error:
            if error.errno == errno.EBUSY:
                return None
            raise
        syscalls.persist(descriptor)
        return descriptor

    def _limit(self, index: int, rate: int) -> None:
        """Shape what goes to the sandbox: a token bucket on the tap (tc-tbf(8)); bytes per second, 0 is none."""
        if rate:
            burst = max(_LEAST_BURST, rate // _BURSTS)
            self._ip.tc("replace", "tbf", index=index, rate=int(rate * _PART), burst=burst, latency=_LATENCY)


def _entries(member: Member, bridge: int) -> Iterator[batch.Change]:
    """Where a bridge finds a member: by its neighbours and routes."""
    mac = bytes.fromhex(member.mac.replace(":", ""))
    for address in (member.address4, member.address6):
        yield batch.neighbour(bridge, address, mac)
        yield batch.host_route(bridge, address)


def groups(names: frozenset[str]) -> Iterator[int]:
    """Numbers of the bridges among these names."""
    return (int(name[1:]) for name in names if name.startswith("g") and name[1:].isdigit())


def taps(names: frozenset[str]) -> frozenset[str]:
    """The taps of members among these names."""
    return frozenset(name for name in names if name.startswith("t") and name[1:].isdigit())


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys", name)
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except FileNotFoundError:
        return  # a kernel without IPv6
    except OSError as error:
        raise MachineError(f"net_tap could not set {name} in its own namespace: {error.strerror}") from error
