"""A tap device whose other end a test holds: it sees the guest's frames, and answers them. Needs root; sets no address on the host.

See the kernel's ``Documentation/networking/tuntap.rst``, netdevice(7), packet(7), RFC 826.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
import uuid
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from ipaddress import IPv4Address

from attrs import frozen

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_ETH_P_ALL = 0x0003
_ARP = b"\x08\x06"
_ARP_FIXED = struct.pack(">HHBB", 1, 0x0800, 6, 4)
_REQUEST, _REPLY = b"\0\1", b"\0\2"


@frozen
class HostTap:
    """A tap device that exists until the context ends.

    Attributes:
        name: of the interface on the host.
        mac: by which the test answers.
        fd: the opened queue, or None when whoever attaches opens it by name.
        packets: socket on the host's end.
    """

    name: str
    mac: bytes
    fd: int | None
    packets: socket.socket

    async def answer(self, address: IPv4Address) -> bytes:
        """Wait for an ARP request for ``address``, answer it, and give the asker's hardware address."""
        loop = asyncio.get_running_loop()
        while True:
            frame = await loop.sock_recv(self.packets, 2048)
            body = frame[14:42]
            if frame[12:14] != _ARP or body[:6] != _ARP_FIXED or body[6:8] != _REQUEST:
                continue
            if body[24:28] == address.packed:
                asker = body[8:14]
                reply = _ARP_FIXED + _REPLY + self.mac + address.packed + asker + body[14:18]
                await loop.sock_sendall(self.packets, asker + self.mac + _ARP + reply + bytes(18))
                return asker


@asynccontextmanager
async def host_tap(*, opened: bool) -> AsyncGenerator[HostTap]:
    """A tap of a random name that is up; ``opened``: with its queue open, as for a VMM that inherits it.

    Raises:
        OSError: we may not.
    """
    name = f"mct{uuid.uuid4().hex[:8]}"
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
    with ExitStack() as stack:
        queue = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        closing = stack.enter_context(ExitStack())
        closing.callback(os.close, queue)
        fcntl.ioctl(queue, _TUNSETIFF, request)
        if not opened:
            fcntl.ioctl(queue, _TUNSETPERSIST, 1)
            closing.close()
            stack.callback(_forget, request)
        control = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        flags = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        up = struct.unpack("16sH22x", flags)[1] | _IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), up))
        packets = stack.enter_context(
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        )
        packets.settimeout(0)
        packets.bind((name, 0))
        yield HostTap(name, b"\x02\x4d\x43\xff\xff\x01", queue if opened else None, packets)


def _forget(request: bytes) -> None:
    """Remove a persistent tap."""
    queue = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(queue, _TUNSETIFF, request)
        fcntl.ioctl(queue, _TUNSETPERSIST, 0)
    finally:
        os.close(queue)
