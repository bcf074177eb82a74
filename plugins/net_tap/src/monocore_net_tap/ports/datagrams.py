"""Datagrams from a socket of the host to a port of a guest, and the answers back."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import OrderedDict

from attrs import define

from monocore_net_tap.ports.binder import IP_PKTINFO
from monocore_net_tap.ports.streams import Target

#: Clients of one published port that are remembered, and for how many seconds after their last datagram.
MOST, KEPT = 1024, 90.0
_SWEEP = 15.0
_AT_ONCE = 64
_MAX = 65535
#: ``struct in_pktinfo`` of linux/in.h: interface, our address for the answer, the destination as it was. ``in6_pktinfo``: address, interface.
_FOUR, _SIX = struct.Struct("=i4s4s"), struct.Struct("=16si")

_Place = tuple[object, bytes]


@define
class _Flow:
    """One client: its address, the answer's control message, and the socket towards the guest."""

    client: tuple[object, ...]
    answer: list[tuple[int, int, bytes]]
    guest: socket.socket
    used: float


class Datagrams:
    """One published UDP port. Needs a running loop.

    An answer bears the address that the client has asked, which matters where the socket is bound to every address.

    Args:
        host: bound on the host, with packet information switched on; closed with this.
        target: the guest's address and port.
    """

    def __init__(self, host: socket.socket, target: Target) -> None:
        self._host = host
        self._target = target
        self._flows: OrderedDict[_Place, _Flow] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(host, self._from_client)
        self._timer = self._loop.call_later(_SWEEP, self._sweep)

    def close(self) -> None:
        """End it."""
        self._timer.cancel()
        self._loop.remove_reader(self._host)
        while self._flows:
            self._forget()
        self._host.close()

    def _from_client(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, control, _, client = self._host.recvmsg(_MAX, 256)
            except OSError:  # nothing more, or the error of an answer that nobody took
                return
            flow = self._flow(client, control)
            if flow is not None:
                try:
                    flow.guest.send(data)
                except OSError:  # full, or nobody listens in the guest: a datagram may be lost
                    continue

    def _flow(self, client: tuple[object, ...], control: list[tuple[int, int, bytes]]) -> _Flow | None:
        answer = _answering(control)
        place: _Place = (client, answer[0][2] if answer else b"")
        found = self._flows.get(place)
        if found is None:
            try:
                found = self._opened(client, answer)
            except OSError:  # no descriptors are left
                return None
            self._flows[place] = found
            if len(self._flows) > MOST:
                self._forget()
        found.used = time.monotonic()
        self._flows.move_to_end(place)
        return found

    def _opened(self, client: tuple[object, ...], answer: list[tuple[int, int, bytes]]) -> _Flow:
        guest = socket.socket(self._host.family, socket.SOCK_DGRAM)
        try:
            guest.settimeout(0)
            guest.connect(self._target)
        except BaseException:
            guest.close()
            raise
        flow = _Flow(client, answer, guest, 0.0)
        self._loop.add_reader(guest, self._from_guest, flow)
        return flow

    def _from_guest(self, flow: _Flow) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = flow.guest.recv(_MAX)
            except OSError:  # nothing more, or "port unreachable"
                return
            flow.used = time.monotonic()
            try:
                self._host.sendmsg([data], flow.answer, 0, flow.client)
            except OSError:  # full, or the client's network is gone
                continue

    def _sweep(self) -> None:
        """Forget those that have been silent; they are in the order of their clients' last datagrams."""
        oldest = time.monotonic() - KEPT
        for place in [place for place, flow in self._flows.items() if flow.used < oldest]:
            self._flows.move_to_end(place, last=False)
            self._forget()
        self._timer = self._loop.call_later(_SWEEP, self._sweep)

    def _forget(self) -> None:
        _, flow = self._flows.popitem(last=False)
        self._loop.remove_reader(flow.guest)
        flow.guest.close()


def _answering(control: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control message that gives an answer the address which was asked; see ip(7), ipv6(7). Pure."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO) and len(data) >= _FOUR.size:
            _, local, _ = _FOUR.unpack_from(data)
            return [(level, kind, _FOUR.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and len(data) >= _SIX.size:
            return [(level, kind, data[: _SIX.size])]
    return []
