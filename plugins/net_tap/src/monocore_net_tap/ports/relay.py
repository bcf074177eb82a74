"""The process in the sandboxes' namespace that takes what comes to published ports, and passes it on."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import cast

from monocore_core.model.network import Publish
from monocore_core.model.policy import Address
from monocore_net_tap.messages import Message
from monocore_net_tap.ports import child
from monocore_net_tap.ports.child import Child
from monocore_net_tap.ports.datagrams import Datagrams
from monocore_net_tap.ports.streams import Streams


def start() -> Child:
    """Fork it; in the sandboxes' namespace."""
    return child.fork(lambda link: asyncio.run(_serve(link)))


def add(relay: Child, number: int, descriptor: int, publish: Publish, to: Address) -> None:
    """Pass on what comes to a bound socket.

    Raises:
        MachineError: the relay is gone.
    """
    relay.ask({"add": number, "address": str(to), "port": publish.guest}, descriptor)


def remove(relay: Child, number: int) -> None:
    """Close a socket and everything that came by it.

    Raises:
        MachineError: the relay is gone.
    """
    relay.ask({"remove": number})


async def _serve(link: socket.socket) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    link.settimeout(0)
    ended = asyncio.get_running_loop().create_future()
    ports: dict[int, Streams | Datagrams] = {}

    def come() -> None:
        request = child.receive(link)
        if request is None:
            ended.set_result(None)
            asyncio.get_running_loop().remove_reader(link)
            return
        _carry_out(ports, *request)
        child.send(link, {})

    asyncio.get_running_loop().add_reader(link, come)
    await ended


def _carry_out(ports: dict[int, Streams | Datagrams], asked: Message, descriptor: int | None) -> None:
    if descriptor is None:
        found = ports.pop(cast("int", asked["remove"]), None)
        if found is not None:
            found.close()
        return
    bound = socket.socket(fileno=descriptor)
    bound.settimeout(0)
    target = str(asked["address"]), cast("int", asked["port"])
    kind = Datagrams if bound.type == socket.SOCK_DGRAM else Streams
    ports[cast("int", asked["add"])] = kind(bound, target)
