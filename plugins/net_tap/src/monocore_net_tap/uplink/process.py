"""What the uplinks have in common that are an ordinary process: it carries packets, and ports are published by processes of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Protocol

from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.members import Member
from monocore_net_tap.netlink import connected, said
from monocore_net_tap.ports.forwarder import Forwarder
from monocore_net_tap.uplink import INTERFACE, Act

#: The network of slirp4netns' IPv6, which cannot be chosen; of pasta's, for which it is as good as another.
SIX = IPv6Network("fd00::/64")
_ENDS_WITHIN = 2.0


class Carrier(Protocol):
    """What is used of a process that carries packets: :class:`subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def send_signal(self, sig: int, /) -> None:
        """Send one."""
        ...

    def kill(self) -> None:
        """Send the last one."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and collect it."""
        ...


class ProcessUplink:
    """See :class:`~monocore_net_tap.uplink.Uplink`. A subclass sets ``kind``, and starts its process.

    Args:
        network: that the process uses on the uplink; it must not be in use elsewhere.
        six: whether the process carries IPv6.

    Attributes:
        process: that carries packets.
    """

    kind = ""
    interface = INTERFACE
    masquerade = True
    process: Carrier

    def __init__(self, network: IPv4Network, *, six: bool) -> None:
        self._six = six
        used = (network, SIX) if six else (network,)
        self.addresses: tuple[Address, ...] = tuple(each[0x100 if each is SIX else 100] for each in used)
        self.gateways: tuple[Address, ...] = tuple(each[last] for each in used for last in (2, 3))
        self.resolvers: tuple[str, ...] = (str(network[3]),)
        self.facts: tuple[tuple[str, str], ...] = (
            (
                "uplink",
                f"{self.kind}, {network}"
                if six
                else f"{self.kind}, {network}; no IPv6, as the host has no way out for it",
            ),
        )
        self._ports = Forwarder()

    def enter(self) -> None:
        """See the protocol: the process has configured the interface, but for IPv6."""
        if self._six:
            with said("set its end of the uplink up"), connected() as ip:
                index = socket.if_nametoindex(INTERFACE)
                ip.addr("replace", index=index, address=str(SIX[0x100]), prefixlen=SIX.prefixlen, flags=0x02)
                ip.route("replace", dst="default", gateway=str(SIX[2]), oif=index, family=socket.AF_INET6)
        self._ports.enter()

    def publish(self, publish: Publish, relay: int, to: Address) -> None:
        """See the protocol."""
        del relay
        self._ports.publish(publish, to)

    def unpublish(self, publish: Publish) -> None:
        """See the protocol."""
        self._ports.unpublish(publish)

    def members(self, members: tuple[Member, ...]) -> None:
        """The process does not know them."""

    def watch(self, ended: Callable[[], None], act: Act) -> None:
        """See the protocol."""
        del act
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(self.process.pid)

        def gone() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            ended()

        loop.add_reader(pidfd, gone)
        self._ports.watch(ended)

    def close(self) -> None:
        """See the protocol."""
        self._ports.close()
        stop(self.process)


def leads_out_by_six() -> bool:
    """Whether this network namespace has a default route of IPv6; see proc_pid_net(5)."""
    try:
        lines = Path("/proc/net/ipv6_route").read_text().splitlines()
    except OSError:  # a kernel without IPv6
        return False
    fields = (line.split() for line in lines)
    return any(each[0] == "0" * 32 and each[1] == "00" and each[-1] != "lo" for each in fields)


def stop(process: Carrier) -> None:
    """End a process of ours, gently at first."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
