"""The process on the host that binds published ports and hands them over."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import cast

from monocore_core.errors import MachineError
from monocore_core.hostports import refusal
from monocore_core.model.network import Publish
from monocore_core.model.policy import Protocol
from monocore_core.serde import structure, unstructure
from monocore_net_tap.messages import Message, failure, result
from monocore_net_tap.ports import child
from monocore_net_tap.ports.child import Child

_BACKLOG = 256
#: What Python 3.11 has no name for: IP_PKTINFO of linux/in.h.
IP_PKTINFO = 8


def start() -> Child:
    """Fork it; in the host's namespaces."""
    return child.fork(_serve)


def bind(binder: Child, publish: Publish) -> int:
    """A socket bound to a published port.

    Raises:
        Conflict, Unauthorized, NotFound: it cannot be had.
        MachineError: the binder is gone.
    """
    answer, descriptor = binder.ask({"publish": unstructure(publish)})
    if descriptor is None:
        result(answer)
        raise MachineError("net_tap: no socket came with the answer")
    binder.hear()  # that its own copy is closed: who closes the socket now, ends it
    return descriptor


def _serve(link: socket.socket) -> None:
    while (request := child.receive(link)) is not None:
        asked = cast("Message", request[0]["publish"])
        publish = structure(asked, Publish, "a port")
        try:
            made = listening(str(publish.address), publish.host, publish.protocol)
        except OSError as error:  # told from here: who has the port is to be seen on the host alone
            child.send(link, failure(refusal(publish, publish.host, error)))
            continue
        with made:
            child.send(link, {}, made.fileno())
        child.send(link, {})


def listening(address: str, port: int, protocol: Protocol) -> socket.socket:
    """A socket of ours that takes connections, or datagrams together with the address that they were sent to.

    Raises:
        OSError: the address cannot be had.
    """
    six = ip_address(address).version == 6
    datagrams = protocol is Protocol.UDP
    made = socket.socket(
        socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
    )
    try:
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if datagrams:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if six else (socket.IPPROTO_IP, IP_PKTINFO)
            )
            made.setsockopt(level, option, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if not datagrams:
            made.listen(_BACKLOG)
        made.settimeout(0)
    except BaseException:
        made.close()
        raise
    return made
