"""The host's addresses, from the host's network namespace, whichever namespace this process joins later."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Network, ip_address

from monocore_core.model.policy import Address
from monocore_net_tap import netlink

_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR of linux/rtnetlink.h
_WITHIN = 5.0


class HostWatch:
    """Open it on the host, use it anywhere. One thread at a time, but for :attr:`events`."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._socket.settimeout(_WITHIN)
        self.events = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        """Becomes readable when addresses change."""
        self.events.bind((0, _GROUPS))

    def addresses(self) -> frozenset[Address]:
        """Every address of every interface, now."""
        found: set[Address] = set()
        for each in netlink.addresses(self._socket):
            for name in ("IFA_ADDRESS", "IFA_LOCAL"):
                text = each.get_attr(name)
                if text:
                    found.add(ip_address(str(text)))
        return frozenset(found)

    def networks(self) -> list[IPv4Network]:
        """IPv4 networks that the host has routes to, but for the default."""
        found: list[IPv4Network] = []
        for route in netlink.routes(self._socket):
            target = route.get_attr("RTA_DST")
            if target and route["family"] == socket.AF_INET:
                with suppress(ValueError):
                    found.append(IPv4Network(f"{target}/{route['dst_len']}", strict=False))
        return found

    def drain(self, changed: Callable[[], None]) -> None:
        """Take the notifications and call back once."""
        with suppress(OSError):
            while self.events.recv(65536):
                pass
        changed()

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        self.events.close()
