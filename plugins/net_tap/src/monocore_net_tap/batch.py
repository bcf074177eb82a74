"""Several changes of interfaces in one system call, written by hand: what each attachment does. See rtnetlink(7), netlink(7).

pyroute2 takes one to three milliseconds of processor time for each command; these take a tenth of one for all. What is done seldom is left to it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Sequence

from monocore_core.model.policy import Address

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_NEIGHBOUR = struct.Struct("=BxHiHBB")
_ROUTE = struct.Struct("=BBBBBBBBI")
# linux/rtnetlink.h, linux/netlink.h
_NEWLINK, _DELLINK, _SETLINK, _NEWROUTE, _DELROUTE, _NEWNEIGH, _DELNEIGH, _ERROR = (
    16,
    17,
    19,
    24,
    25,
    28,
    29,
    2,
)
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_NESTED = 0x8000
_AF_BRIDGE = 7
_IFF_UP = 1
# linux/if_link.h
_MTU, _MASTER, _PROTINFO = 4, 10, 12
_LEARNING, _UNICAST_FLOOD, _MCAST_FLOOD, _BCAST_FLOOD, _ISOLATED = 8, 9, 27, 30, 33
# linux/neighbour.h: attributes, NUD_PERMANENT, NTF_MASTER
_DST, _LLADDR = 1, 2
_PERMANENT, _OF_MASTER = 0x80, 0x04
# attributes of routes; main table, protocol "static", scope "universe", type "unicast"
_TO, _OIF = 1, 4
_MAIN, _STATIC, _UNIVERSE, _UNICAST = 254, 4, 0, 1
_MAX_READ = 64 * 1024
_WITHIN = 10.0

#: A message without its header: (type, flags, body).
Change = tuple[int, int, bytes]


class Batch:
    """A netlink socket in the network namespace of the thread that opens it. One thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._socket.settimeout(_WITHIN)
        self._number = 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def run(self, changes: Sequence[Change], ignoring: Collection[int] = ()) -> None:
        """Make the changes, in order. One that is refused stops none of the others.

        Args:
            changes: to be made.
            ignoring: reasons that are no errors.

        Raises:
            OSError: the kernel's reason for the first that was refused.
        """
        first = self._number + 1
        self._number += len(changes)
        self._socket.send(b"".join(encode(each, first + place) for place, each in enumerate(changes)))
        answers: dict[int, int] = {}
        while len(answers) < len(changes):
            found = acknowledged(self._socket.recv(_MAX_READ))
            answers |= {
                number: code for number, code in found if number >= first
            }  # an older one's batch was given up
        for number in sorted(answers):
            if answers[number] and answers[number] not in ignoring:
                raise OSError(answers[number], os.strerror(answers[number]))


def encode(change: Change, number: int) -> bytes:
    """One message that asks to be acknowledged."""
    kind, flags, body = change
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST | _ACK, number, 0) + body


def acknowledged(data: bytes) -> list[tuple[int, int]]:
    """(number, errno) of the acknowledgements in what one read gave."""
    found: list[tuple[int, int]] = []
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, _, number, _ = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > len(data):
            break
        if kind == _ERROR and size >= _HEADER.size + 4:
            found.append((number, -struct.unpack_from("=i", data, offset + _HEADER.size)[0]))
        offset += (size + 3) & ~3
    return found


def port(index: int, bridge: int, mtu: int) -> list[Change]:
    """An interface as a port of a bridge that is up, sends no frame to another port, and is sent none that is not for it."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
    body += _number(_MTU, mtu) + _number(_MASTER, bridge)
    switches = (
        (_ISOLATED, 1),
        (_LEARNING, 0),
        (_UNICAST_FLOOD, 0),
        (_MCAST_FLOOD, 0),
        (_BCAST_FLOOD, 0),
    )
    inner = b"".join(_attribute(kind, bytes((value,))) for kind, value in switches)
    own = _LINK.pack(_AF_BRIDGE, 0, index, 0, 0) + _attribute(_PROTINFO | _NESTED, inner)
    return [(_NEWLINK, 0, body), (_SETLINK, 0, own)]


def forwarding_entry(index: int, mac: bytes) -> Change:
    """A bridge finds a MAC address at this port, for good."""
    body = _NEIGHBOUR.pack(_AF_BRIDGE, 0, index, _PERMANENT, _OF_MASTER, 0) + _attribute(_LLADDR, mac)
    return _NEWNEIGH, _CREATE | _REPLACE, body


def neighbour(bridge: int, address: Address, mac: bytes) -> Change:
    """An address has this MAC address, for good."""
    body = _NEIGHBOUR.pack(_family(address), 0, bridge, _PERMANENT, 0, 0)
    body += _attribute(_DST, address.packed) + _attribute(_LLADDR, mac)
    return _NEWNEIGH, _CREATE | _REPLACE, body


def host_route(bridge: int, address: Address) -> Change:
    """An address is reached by a bridge."""
    body = _ROUTE.pack(_family(address), address.max_prefixlen, 0, 0, _MAIN, _STATIC, _UNIVERSE, _UNICAST, 0)
    body += _attribute(_TO, address.packed) + _number(_OIF, bridge)
    return _NEWROUTE, _CREATE | _REPLACE, body


def removal(change: Change) -> Change:
    """Of what a change from here has made, but for a port."""
    kind, _, body = change
    return {_NEWNEIGH: _DELNEIGH, _NEWROUTE: _DELROUTE}[kind], 0, body


def interface_removed(index: int) -> Change:
    """An interface is gone."""
    return _DELLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
