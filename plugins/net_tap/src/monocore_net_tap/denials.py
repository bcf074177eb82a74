"""What the packet filter refuses, as it tells it: the kernel's NFLOG, read from a netlink socket.

The filter logs at a limited rate, with a prefix that names the policy and the rule. See the kernel's ``nfnetlink_log.h``. Everything
in a packet is the guest's word: only fixed places of its headers are read.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from attrs import frozen

from monocore_core.errors import MachineError
from monocore_core.model.policy import Address
from monocore_net_tap import syscalls

_SUBSYSTEM = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = 0, 1
_CFG_CMD, _CFG_MODE = 1, 2
_BIND = 1
_COPY_PACKET = 2
_PAYLOAD, _PREFIX = 9, 10
_REQUEST, _ACK = 1, 4
_ERROR = 2
_COPIED = 128
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}
_WITH_PORTS = (6, 17)
#: Extension headers of IPv6 that may stand before the transport's; at most this many are read over.
_EXTENSIONS = (0, 43, 60)
_MAX_EXTENSIONS = 4


@frozen
class Denial:
    """One refused packet.

    Attributes:
        prefix: of the filter's rule.
        source, destination: its addresses.
        protocol: ``tcp``, ``udp``, ``icmp`` or a number in text.
        port: of the destination, 0 where there is none.
    """

    prefix: str
    source: Address
    destination: Address
    protocol: str
    port: int


class DenialLog:
    """The socket of one NFLOG group, of the network namespace in which it is opened.

    Args:
        group: number that the filter's log statements name.
    """

    def __init__(self, group: int) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, syscalls.NETLINK_NETFILTER
        )
        try:
            self.socket.bind((0, 0))
            self.socket.settimeout(2)
            self._configure(group, _CFG_CMD, struct.pack("=B", _BIND))
            self._configure(group, _CFG_MODE, struct.pack("!IBx", _COPIED, _COPY_PACKET))
            self.socket.settimeout(0)
        except OSError as error:
            self.socket.close()
            raise MachineError(f"refused packets cannot be watched: {error.strerror}") from error

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def read(self) -> Iterator[Denial]:
        """What has come since; never waits. What the kernel had to drop is not told."""
        for _ in range(64):
            try:
                data = self.socket.recv(65536)
            except OSError:  # nothing more, or too much came at once (ENOBUFS)
                return
            yield from parse(data)

    def _configure(self, group: int, kind: int, value: bytes) -> None:
        body = _GENERIC.pack(socket.AF_UNSPEC, 0, group) + _attribute(kind, value)
        head = _HEADER.pack(_HEADER.size + len(body), _SUBSYSTEM << 8 | _CONFIG, _REQUEST | _ACK, 1, 0)
        self.socket.send(head + body)
        answer = self.socket.recv(4096)
        code = struct.unpack_from("=i", answer, _HEADER.size)[0] if len(answer) >= _HEADER.size + 4 else 0
        if code:
            raise OSError(-code, os.strerror(-code))


def parse(data: bytes) -> Iterator[Denial]:
    """The packets in what one read gave; what makes no sense is left out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if size < _HEADER.size or offset + size > len(data):
            return
        if kind == _SUBSYSTEM << 8 | _PACKET:
            found = _denial(data[offset + _HEADER.size + _GENERIC.size : offset + size])
            if found is not None:
                yield found
        offset += (size + 3) & ~3


def _denial(body: bytes) -> Denial | None:
    prefix, payload, offset = "", b"", 0
    while offset + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, offset)
        if size < _ATTRIBUTE.size:
            return None
        value = body[offset + _ATTRIBUTE.size : offset + size]
        if kind & 0x3FFF == _PREFIX:
            prefix = value.split(b"\0")[0].decode(errors="replace")
        elif kind & 0x3FFF == _PAYLOAD:
            payload = value
        offset += (size + 3) & ~3
    return _packet(prefix, payload)


def _packet(prefix: str, packet: bytes) -> Denial | None:
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        source: Address = IPv4Address(packet[12:16])
        destination: Address = IPv4Address(packet[16:20])
        protocol, start = packet[9], (packet[0] & 15) * 4
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        protocol, start = packet[6], 40
        for _ in range(_MAX_EXTENSIONS):
            if protocol not in _EXTENSIONS or len(packet) < start + 2:
                break
            protocol, start = packet[start], start + packet[start + 1] * 8 + 8
    else:
        return None
    port = 0
    if protocol in _WITH_PORTS and len(packet) >= start + 4:
        port = int.from_bytes(packet[start + 2 : start + 4], "big")
    return Denial(prefix, source, destination, _NAMES.get(protocol, str(protocol)), port)


def _attribute(kind: int, value: bytes) -> bytes:
    padded = value + bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + padded
