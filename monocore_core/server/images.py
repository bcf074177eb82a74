"""Routes: the images in the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from monocore_core.config.words import read_platform
from monocore_core.engine import Engine
from monocore_core.errors import InvalidInput, NotFound
from monocore_core.inventory import image_details, image_summary
from monocore_core.model.access import Scope
from monocore_core.model.events import Event
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.model.record import SettingsSource
from monocore_core.reference import Reference, parse_reference
from monocore_core.serde import structure
from monocore_core.server.app import daemon_of
from monocore_core.server.bodies import inner_table, stream_of, switch, table_of, texts_of
from monocore_core.server.routing import Entry
from monocore_core.server.streams import stream_bytes
from monocore_core.server.telling import told
from monocore_core.server.views import view_of_event
from monocore_core.store.atomic import storage_errors
from monocore_core.store.compress import Compression
from monocore_core.store.export import Chosen, export_images
from monocore_core.store.gc import Reclaimed
from monocore_core.store.images import Removed
from monocore_core.store.owner import Owner

TAR: Final = "application/x-tar"
CHUNK: Final = 256 * 1024
#: Images of one archive.
MAX_SAVED: Final = 100
Tell = Callable[[Event], None]


async def list_all(request: web.Request) -> web.Response:
    """Every image, the latest first."""
    engine = await _engine(request)
    return web.json_response({"images": [image_summary(image) for image in engine.store.images()]})


async def inspect(request: web.Request) -> web.Response:
    """Everything known of one."""
    engine = await _engine(request)
    platform = _platform(request.query.get("platform"))
    return web.json_response(image_details(_find(engine, request.match_info["image"], platform)))


async def remove(request: web.Request) -> web.Response:
    """Take a name away, and with its last name an image."""
    engine, name = await _engine(request), request.match_info["image"]
    await daemon_of(request).sandboxes.lives.settle()
    work = partial(engine.store.remove_image, name, force=switch(request, "force"), parse=engine.reference)
    return await _removed(engine, *await asyncio.to_thread(work))


async def prune(request: web.Request) -> web.Response:
    """Remove what no image and no sandbox needs."""
    engine = await _engine(request)
    everything = (await table_of(request)).get("all") is True
    await daemon_of(request).sandboxes.lives.settle()
    return await _removed(engine, *await asyncio.to_thread(engine.store.prune, all_unused=everything))


async def pull(request: web.Request) -> web.StreamResponse:
    """Bring an image, or what is missing of it, into the store, and make its root."""
    table = await table_of(request)
    image = table.get("image")
    if not isinstance(image, str) or not image:
        raise InvalidInput("image: give the reference of an image")
    platform = _platform(table.get("platform"))
    settings = structure(inner_table(table, "settings"), SettingsSource, "settings")
    engine = await daemon_of(request).sandboxes.engines.of(settings)
    engine.reference(image)  # so that what is no reference is answered as a problem

    async def work(tell: Tell) -> object:
        heard = engine.heard_by(tell)
        pulled = await heard.pull(image, platform)
        await heard.assemble(pulled)
        return image_summary(pulled)

    return await told(request, work, view_of_event)


async def load(request: web.Request) -> web.StreamResponse:
    """Take images from an archive, or from the tar of a root file system, in the body."""
    engine = await _engine(request)
    scheme = "rootfs" if switch(request, "rootfs") else "oci-archive"
    tag = request.query.get("tag")
    names = (parse_reference(tag),) if tag else ()
    if any(name.digest is not None for name in names):
        raise InvalidInput(f"parameter tag: {str(tag)[:200]!r} has a digest, which is not ours to give")
    text = request.query.get("platform")
    platform = None if text is None else _platform(text)
    path = engine.store.layout.temporary(Owner.current())
    try:
        await _spool(request, path)

        async def work(tell: Tell) -> object:
            loaded: list[object] = []
            place = Reference("", str(path), scheme=scheme)
            async for image, given in engine.heard_by(tell).load(place, platform, names):
                loaded.append({"digest": str(image.digest), "names": [name.familiar for name in given]})
            return {"images": loaded}

        return await told(request, work, view_of_event)
    finally:
        path.unlink(missing_ok=True)


async def save(request: web.Request) -> web.StreamResponse:
    """Images as one OCI archive, which ``docker load`` reads as well."""
    engine, table = await _engine(request), await table_of(request)
    texts = texts_of(table, "images") or ()
    if not 1 <= len(texts) <= MAX_SAVED:
        raise InvalidInput(f"images: give 1 to {MAX_SAVED} names or ids")
    word = table.get("compress", Compression.NONE.value)
    compression = next((one for one in Compression if one.value == word), None)
    if compression is None:
        raise InvalidInput(f"compress: {str(word)[:40]!r} is none of {', '.join(Compression)}")
    platform = _platform(table.get("platform"))
    chosen = [_chosen(engine, text, platform) for text in texts]
    async with aclosing(_exported(engine, chosen, compression)) as chunks:
        return await stream_bytes(request, TAR, chunks)


ENTRIES: Final = (
    Entry("GET", "/v1/images", list_all, Scope.READ),
    Entry("POST", "/v1/images/pull", pull, Scope.ADMIN),
    Entry("POST", "/v1/images/load", load, Scope.ADMIN),
    Entry("POST", "/v1/images/save", save, Scope.ADMIN),
    Entry("POST", "/v1/images/prune", prune, Scope.ADMIN),
    Entry("GET", "/v1/images/{image:.+}", inspect, Scope.READ),
    Entry("DELETE", "/v1/images/{image:.+}", remove, Scope.ADMIN),
)


async def _engine(request: web.Request) -> Engine:
    return await daemon_of(request).sandboxes.engines.base()


async def _removed(engine: Engine, removed: Removed, reclaimed: Reclaimed) -> web.Response:
    """What was removed; merged roots that no image needs any more go with it."""
    await engine.sweep_roots()
    deleted = list(map(str, removed.deleted))
    return web.json_response(
        {"untagged": list(removed.untagged), "deleted": deleted, "reclaimed": reclaimed.bytes}
    )


def _platform(text: object) -> Platform:
    return Platform.host() if text is None else read_platform(text)


def _find(engine: Engine, text: str, platform: Platform) -> Image:
    image = engine.store.resolve_image(text, platform, parse=engine.reference)
    if image is None:
        raise NotFound(f"image {text[:200]!r} is not in the store", hint="monocore images lists them")
    return image


def _chosen(engine: Engine, text: str, platform: Platform) -> Chosen:
    image = _find(engine, text, platform)
    try:
        reference = engine.reference(text)
    except InvalidInput:  # an id
        return Chosen(image)
    return Chosen(image, (reference,) if str(reference) in image.references else ())


async def _spool(request: web.Request, path: Path) -> None:
    """The body as a file: archives are read in more than one order."""
    with storage_errors("keep the archive"), path.open("xb") as file:
        async for chunk in stream_of(request):
            await asyncio.to_thread(file.write, chunk)


async def _exported(engine: Engine, chosen: list[Chosen], compression: Compression) -> AsyncGenerator[bytes]:
    """The archive, written by a thread into a pipe; closing this closes the pipe, which ends the thread."""
    source, sink = os.pipe()
    writing = asyncio.create_task(asyncio.to_thread(_write, engine, chosen, sink, compression))
    reader = asyncio.StreamReader(CHUNK)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(CHUNK):
            yield chunk
        await asyncio.shield(writing)
    finally:
        transport.close()
        await asyncio.wait({writing})
        writing.exception()  # a pipe that was closed is no news


def _write(engine: Engine, chosen: list[Chosen], sink: int, compression: Compression) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(sink, "wb") as stream:
        export_images(engine.store, chosen, stream, compression)
