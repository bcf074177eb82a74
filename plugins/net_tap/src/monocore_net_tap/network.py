"""The backend as the core sees it: a client of the keeper."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import cast

from attrs import evolve

from monocore_core.concurrency import in_thread
from monocore_core.errors import Conflict, MonocoreError
from monocore_core.hostports import free_port, require_free
from monocore_core.interfaces.provider import Host, NetworkCapabilities
from monocore_core.model.events import Denied
from monocore_core.model.network import (
    Connection,
    GuestNetwork,
    NetworkRequest,
    NetworkStatus,
    Publish,
    Refusal,
    Tap,
    Traffic,
)
from monocore_core.serde import structure, unstructure
from monocore_net_tap import records
from monocore_net_tap.client import Absent, Client
from monocore_net_tap.options import TapOptions
from monocore_net_tap.uplink.confine import Confinement

#: Seconds between questions for refusals, when the keeper could not be asked.
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0


class TapNetwork:
    """See :class:`~monocore_core.interfaces.network.Network`.

    Args:
        host: the backend's places.
        options: as configured.
    """

    def __init__(self, host: Host, options: TapOptions) -> None:
        self._host = host
        self._client = Client(host.state, options, Confinement(host.security, str(host.cache)))
        self._taps: dict[str, int] = {}
        #: Keys whose refusals are told: also those whose tap a VMM has already, which another process has attached.
        self._attached: set[str] = set()
        self._listening: asyncio.Task[None] | None = None

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        """See the protocol."""
        token = uuid.uuid4().hex
        published = await in_thread(lambda: self._choose(key, request))
        message = {
            "op": "attach",
            "key": key,
            "token": token,
            "request": unstructure(request),
            "published": [unstructure(each) for each in published],
        }
        try:
            answer, descriptor = await self._client.ask(message, start=True)
        except BaseException:
            # an answer that nobody takes any more, a keeper that was killed at work: nothing of this attach may stay
            await asyncio.shield(self._undo(key, token))
            raise
        if descriptor is not None:
            self._close(key)
            self._taps[key] = descriptor
        self._attached.add(key)
        self._listen()
        return _connection(cast("Mapping[str, object]", answer["connection"]), self._taps.get(key))

    async def detach(self, key: str) -> None:
        """See the protocol."""
        self._close(key)
        self._attached.discard(key)
        if await self._has(key):
            await self._client.ask({"op": "detach", "key": key}, start=True)

    async def keys(self) -> frozenset[str]:
        """See the protocol."""
        return await in_thread(lambda: records.keys(self._host.state))

    async def inspect(self, key: str) -> NetworkStatus | None:
        """See the protocol."""
        if not await self._has(key):
            return None
        answer, _ = await self._client.ask({"op": "inspect", "key": key}, start=True)
        if not answer:
            return None
        traffic = answer["traffic"]
        return NetworkStatus(
            key,
            structure(cast("Mapping[str, object]", answer["request"]), NetworkRequest, "the keeper's answer"),
            _connection(cast("Mapping[str, object]", answer["connection"]), None),
            structure(cast("Mapping[str, object]", traffic), Traffic, "the keeper's answer")
            if traffic
            else None,
            tuple(
                (str(name), str(address), int(left))
                for name, address, left in cast("list[tuple[str, str, int]]", answer["resolved"])
            ),
            tuple(map(_refusal, cast("list[Mapping[str, object]]", answer["refusals"]))),
            tuple((str(what), str(value)) for what, value in cast("list[tuple[str, str]]", answer["facts"])),
        )

    async def close(self) -> None:
        """Let go of everything that is open; what is attached stays attached."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for key in list(self._taps):
            self._close(key)

    async def _has(self, key: str) -> bool:
        return await in_thread(lambda: records.has(self._host.state, key))

    def _choose(self, key: str, request: NetworkRequest) -> tuple[Publish, ...]:
        """The ports of the host, looked for where the host's ports are to be seen: in our own namespace."""
        if records.has(self._host.state, key):
            return request.publish
        chosen: list[Publish] = []
        for publish in request.publish:
            holder = records.publisher(self._host.state, publish)
            if holder is not None:
                raise Conflict(
                    f"port {publish.host}/{publish.protocol} of {publish.address} is published by sandbox {holder}",
                    hint="publish on another port",
                )
            if publish.host:
                require_free(publish)
                chosen.append(publish)
            else:
                chosen.append(evolve(publish, host=free_port(publish)))
        return tuple(chosen)

    async def _undo(self, key: str, token: str) -> None:
        with suppress(MonocoreError):
            start = await self._has(key)
            await self._client.ask({"op": "detach", "key": key, "token": token}, start=start)

    def _close(self, key: str) -> None:
        descriptor = self._taps.pop(key, None)
        if descriptor is not None:
            os.close(descriptor)

    def _listen(self) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._refusals())

    async def _refusals(self) -> None:
        """Turn the keeper's refusals into events, of the sandboxes that this instance has attached.

        Who waits for them notices first that a keeper and its parent were killed, and starts another for the sandboxes that are left without.
        """
        last, pause = -1, _PAUSE
        while True:
            try:
                answer, _ = await self._client.ask({"op": "refusals", "since": last})
            except MonocoreError as error:
                if isinstance(error, Absent) and not self._attached & await self.keys():
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                with suppress(MonocoreError):
                    await self._client.start()
                continue
            pause = _PAUSE
            last = int(str(answer["last"]))
            for key, refusal in cast("list[tuple[str, Mapping[str, object]]]", answer["refusals"]):
                if key in self._attached:
                    self._host.emit(Denied(key, _refusal(refusal)))


def _connection(told: Mapping[str, object], descriptor: int | None) -> Connection:
    where = "the keeper's answer"
    tap = structure(cast("Mapping[str, object]", told["attachment"]), Tap, where)
    guest = structure(cast("Mapping[str, object]", told["guest"]), GuestNetwork, where)
    published = cast("list[Mapping[str, object]]", told["published"])
    return Connection(
        evolve(tap, fd=descriptor), guest, tuple(structure(each, Publish, where) for each in published)
    )


def _refusal(told: Mapping[str, object]) -> Refusal:
    return structure(told, Refusal, "the keeper's answer")


@asynccontextmanager
async def open_network(
    host: Host, options: TapOptions, capabilities: NetworkCapabilities
) -> AsyncGenerator[TapNetwork]:
    """The backend, for as long as the context lasts."""
    del capabilities
    network = TapNetwork(host, options)
    try:
        yield network
    finally:
        await network.close()
