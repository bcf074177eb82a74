"""Routes: named volumes, networks of running sandboxes, installed plugins."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from monocore_core.engine import Engine
from monocore_core.errors import InvalidInput, NotFound
from monocore_core.inventory import network_details, plugins_details, volume_details
from monocore_core.model.access import Scope
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import table_of
from monocore_core.server.routing import Entry
from monocore_core.store import Store


async def list_volumes(request: web.Request) -> web.Response:
    """Every named volume."""
    store = await _settled(request)
    return web.json_response({"volumes": [volume_details(volume) for volume in store.volumes.all()]})


async def make_volume(request: web.Request) -> web.Response:
    """Make a named volume; one that exists is left as it is."""
    store, name = (await _engine(request)).store, (await table_of(request)).get("name")
    if not isinstance(name, str):
        raise InvalidInput("name: give the volume one")
    return web.json_response(volume_details(store.volumes.create(name)), status=201)


async def inspect_volume(request: web.Request) -> web.Response:
    """Everything known of a named volume."""
    store = await _settled(request)
    return web.json_response(volume_details(store.volumes.find(request.match_info["name"])))


async def remove_volume(request: web.Request) -> web.Response:
    """Remove a named volume with everything in it, unless a sandbox uses it."""
    store = await _settled(request)
    await asyncio.to_thread(store.volumes.remove, request.match_info["name"])
    return web.Response(status=204)


async def prune_volumes(request: web.Request) -> web.Response:
    """Remove every named volume that no sandbox uses, with everything in it."""
    store = await _settled(request)
    return web.json_response({"removed": await asyncio.to_thread(store.volumes.prune)})


async def list_networks(request: web.Request) -> web.Response:
    """What running sandboxes are connected to."""
    return web.json_response({"networks": await _networks(await _engine(request))})


async def inspect_network(request: web.Request) -> web.Response:
    """Everything that its network knows of one running sandbox."""
    record = daemon_of(request).sandboxes.get(request.match_info["id"])
    for found in await _networks(await _engine(request)):
        if found["key"] == record.id:
            return web.json_response(found)
    raise NotFound(f"sandbox {record.name} has no network, or does not run")


async def list_plugins(request: web.Request) -> web.Response:
    """Every installed backend, with what it says of this host, and what is set aside."""
    engine = await _engine(request)
    offers = await asyncio.to_thread(engine.survey)
    return web.json_response(plugins_details(engine.plugins, offers))


ENTRIES: Final = (
    Entry("GET", "/v1/volumes", list_volumes, Scope.READ),
    Entry("POST", "/v1/volumes", make_volume, Scope.ADMIN),
    Entry("POST", "/v1/volumes/prune", prune_volumes, Scope.ADMIN),
    Entry("GET", "/v1/volumes/{name}", inspect_volume, Scope.READ),
    Entry("DELETE", "/v1/volumes/{name}", remove_volume, Scope.ADMIN),
    Entry("GET", "/v1/networks", list_networks, Scope.READ),
    Entry("GET", "/v1/networks/{id}", inspect_network, Scope.READ),
    Entry("GET", "/v1/plugins", list_plugins, Scope.READ),
)


async def _engine(request: web.Request) -> Engine:
    return await daemon_of(request).sandboxes.engines.base()


async def _settled(request: web.Request) -> Store:
    """The store, when no sandbox that has ended uses anything of it any more."""
    await daemon_of(request).sandboxes.lives.settle()
    return (await _engine(request)).store


async def _networks(engine: Engine) -> list[dict[str, object]]:
    names = {lease.key: lease.name for lease in engine.store.leases()}
    found = await engine.networks()
    return [dict(network_details(backend, status, names.get(status.key, ""))) for backend, status in found]
