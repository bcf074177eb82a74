"""The image source: opens places when they are asked for, keeps them open while a pull goes on, and reads blobs from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from attrs import define, evolve, field

from monocore_core.concurrency import in_thread
from monocore_core.errors import Corrupt, InvalidInput, Unsupported
from monocore_core.interfaces.image_source import Held, ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host
from monocore_core.model.events import Listener, Warned
from monocore_core.model.oci import Descriptor, Platform
from monocore_core.reference import Reference
from monocore_core.unpacking.service import Unpackers
from monocore_oci_archive.content import Content, Found
from monocore_oci_archive.decompress import Decompressor
from monocore_oci_archive.inputs import Fingerprint, reading
from monocore_oci_archive.members import Piece
from monocore_oci_archive.opening import ROOTFS, Opener
from monocore_oci_archive.options import ArchiveOptions
from monocore_oci_archive.places import Place
from monocore_oci_archive.records import Records
from monocore_oci_archive.stopping import Stop, stoppable

#: Seconds that a place stays open when nobody uses it: between resolving and a blob, another process may hold the layer.
LINGER = 300.0
_CHUNK = 1024 * 1024


@define(eq=False)
class _Opened:
    """A place as it was when it was opened."""

    content: Content
    fingerprint: Fingerprint
    found: dict[tuple[str, Platform], Found] = field(factory=dict[tuple[str, Platform], Found])


@define(eq=False)
class _Slot:
    """One path: what is open there, who uses it, and what was replaced while it was used."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    users: int = 0
    opened: _Opened | None = None
    replaced: list[_Opened] = field(factory=list[_Opened])
    timer: asyncio.TimerHandle | None = None

    def put(self, opened: _Opened) -> None:
        if self.opened is not None:
            self.replaced.append(self.opened)
        self.opened = opened

    def close_replaced(self) -> None:
        while self.replaced:
            self.replaced.pop().content.close()

    def close(self) -> None:
        self.close_replaced()
        if self.timer is not None:
            self.timer.cancel()
        if self.opened is not None:
            self.opened.content.close()
            self.opened = None


@define(eq=False)
class ArchiveSource:
    """Implements :class:`~monocore_core.interfaces.image_source.ImageArchive`."""

    opener: Opener
    records: Records
    emit: Listener
    _slots: dict[tuple[str, str], _Slot] = field(factory=dict[tuple[str, str], _Slot], init=False)

    async def resolve(self, reference: Reference, platform: Platform) -> ResolvedImage:
        """Find the image; what has not changed since an earlier time is not read again."""
        place = self._place(reference)
        async with self._slot(reference.scheme, place) as slot, slot.lock:
            now = await stoppable(partial(self.opener.fingerprint, reference.scheme, place.path))
            known = await in_thread(partial(self.records.recall, reference, platform, now))
            if known is not None:
                return known
            opened = await self._open(slot, reference.scheme, place, now)
            found = await self._found(opened, place, platform)
            result = ResolvedImage(reference, found.digest, found.manifest, found.data, found.platform)
            if opened.fingerprint.lasting:
                after = await stoppable(partial(self.opener.fingerprint, reference.scheme, place.path))
                if after.text == opened.fingerprint.text:
                    await in_thread(partial(self.records.remember, result, platform, after))
        return result

    async def held(self, place: Reference) -> tuple[Held, ...]:
        """See the interface."""
        where = self._place(place)
        async with self._slot(place.scheme, where) as slot, slot.lock:
            now = await stoppable(partial(self.opener.fingerprint, place.scheme, where.path))
            opened = await self._open(slot, place.scheme, where, now)
            listed = await stoppable(opened.content.held)
        if place.scheme == ROOTFS:
            return (Held(place),)
        found = (
            Held(evolve(place, path=f"{where.path}:@{number}"), each.names, each.platforms)
            for number, each in enumerate(listed)
            if not where.wanted or where.number == number or where.fits(each.names)
        )
        return tuple(found) or ((Held(place),) if where.wanted else ())

    @asynccontextmanager
    async def open_blob(
        self, image: ResolvedImage, descriptor: Descriptor, offset: int = 0
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Stream a blob; see the interface."""
        if not 0 <= offset <= descriptor.size:
            raise InvalidInput(f"offset {offset} is not within a blob of {descriptor.size} bytes")
        scheme, place = image.reference.scheme, self._place(image.reference)
        async with self._slot(scheme, place) as slot:
            async with slot.lock:
                opened, found = await self._of(slot, scheme, place, image)
            inline = found.inline.get(descriptor.digest)
            if inline is not None:
                _check_size(len(inline), descriptor, place)
                yield _bytes(inline[offset:])
                return
            with reading(place.path), opened.content.open(found, descriptor) as piece:
                _check_size(piece.size, descriptor, place)
                yield _chunks(piece, offset, place)

    def close(self) -> None:
        """Close every place."""
        for slot in self._slots.values():
            slot.close()
        self._slots.clear()

    def _place(self, reference: Reference) -> Place:
        if not reference.scheme:
            raise Unsupported(f"{reference} is not the name of an archive or a folder")
        return self.opener.place(reference.scheme, reference.path)

    @asynccontextmanager
    async def _slot(self, scheme: str, place: Place) -> AsyncGenerator[_Slot]:
        key = (scheme, place.path)
        slot = self._slots.setdefault(key, _Slot())
        slot.users += 1
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        try:
            yield slot
        finally:
            slot.users -= 1
            if not slot.users:
                slot.close_replaced()
                slot.timer = asyncio.get_running_loop().call_later(LINGER, self._forget, key)

    def _forget(self, key: tuple[str, str]) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            slot.close()

    async def _open(self, slot: _Slot, scheme: str, place: Place, now: Fingerprint) -> _Opened:
        """What is open, when it is still the same; else opened anew."""
        if slot.opened is not None and slot.opened.fingerprint.text == now.text:
            return slot.opened
        opened = _Opened(await stoppable(partial(self.opener.open, scheme, place.path), _close), now)
        slot.put(opened)
        for remark in opened.content.remarks:
            self.emit(Warned(remark))
        return opened

    async def _found(self, opened: _Opened, place: Place, platform: Platform) -> Found:
        key = (place.wanted, platform)
        found = opened.found.get(key)
        if found is None:

            def resolve(stop: Stop) -> Found:
                with reading(place.path):
                    return opened.content.resolve(place, platform, stop)

            found = opened.found[key] = await stoppable(resolve)
        return found

    async def _of(
        self, slot: _Slot, scheme: str, place: Place, image: ResolvedImage
    ) -> tuple[_Opened, Found]:
        """The opened place of an image that was resolved before, perhaps long ago."""
        for opened in ([slot.opened] if slot.opened else []) + slot.replaced:
            for found in opened.found.values():
                if found.digest == image.digest:
                    return opened, found
        now = await stoppable(partial(self.opener.fingerprint, scheme, place.path))
        opened = await self._open(slot, scheme, place, now)
        found = await self._found(opened, place, image.platform or Platform.host())
        if found.digest != image.digest:
            raise Corrupt(f"{place.path} has changed since {image.digest} was found there", hint="try again")
        return opened, found


def _close(content: Content) -> None:
    content.close()


def _check_size(size: int, descriptor: Descriptor, place: Place) -> None:
    if size != descriptor.size:
        raise Corrupt(
            f"{place.path}: its blob {descriptor.digest} has {size} bytes, but its manifest says {descriptor.size}",
            hint="the archive is damaged: make it again",
        )


async def _bytes(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _chunks(piece: Piece, offset: int, place: Place) -> AsyncIterator[bytes]:
    while offset < piece.size:
        with reading(place.path):
            data = await in_thread(partial(piece.read, offset, _CHUNK))
        if not data:
            raise Corrupt(f"{place.path} has become shorter while it was read")
        offset += len(data)
        yield data


@asynccontextmanager
async def create(host: Host, options: ArchiveOptions) -> AsyncGenerator[ImageSource]:
    """Open the source; every place that it opened is closed at the end."""
    unpackers = Unpackers(host.security, host.cache, host.cache, host.emit)
    decompressor = Decompressor(unpackers, asyncio.get_running_loop())
    source = ArchiveSource(
        Opener(host.cache, options, decompressor), Records(host.cache / "resolved"), host.emit
    )
    try:
        yield source
    finally:
        source.close()
