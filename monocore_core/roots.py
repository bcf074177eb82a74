"""Merged roots: the key under which a merger keeps each, one made for a sandbox or before any, and those that nobody needs any more.

An image's sandboxes share a root, unless their merger makes one for each (:meth:`.Backends.private_roots`), which then goes with its sandbox.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager

from attrs import frozen

from monocore_core.backends import Backends
from monocore_core.errors import Corrupt, LimitExceeded, MonocoreError, Unsupported
from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Interface
from monocore_core.model.events import Listener, Warned
from monocore_core.model.image import Image
from monocore_core.model.rootfs import RootFs
from monocore_core.plugins import Plugins
from monocore_core.store import Store, private_root_key


@frozen(eq=False)
class Roots:
    """The roots of one store.

    Attributes:
        store: images, leases.
        backends: opened when they are needed.
        listener: receives events.
    """

    store: Store
    backends: Backends
    listener: Listener

    def key_of(self, merger: str, image: Image, sandbox: str) -> str:
        """Of the root that all sandboxes of an image share, or of the one that goes with this sandbox."""
        shared = root_key(image)
        return private_root_key(shared, sandbox) if self.backends.private_roots(merger) else shared

    async def find(self, merger: str, image: Image, sandbox: str) -> RootFs:
        """The root of a sandbox; made, where it is not there."""
        opened = await self.backends.layer_merger(merger)
        with _of(image):
            return await opened.merge(self.key_of(merger, image, sandbox), image.layers)

    async def make(self, merger: str, image: Image, sandbox: str, stack: AsyncExitStack) -> RootFs:
        """The root of a new sandbox, whose undoing is on the stack if it is the sandbox's own."""
        if self.backends.private_roots(merger):
            opened = await self.backends.layer_merger(merger)
            await self._sweep_private(opened)
            stack.push_async_callback(opened.remove, self.key_of(merger, image, sandbox))
        return await self.find(merger, image, sandbox)

    async def make_ahead(self, merger: str, image: Image) -> None:
        """Make the root of an image before its first sandbox asks for it; nothing, where sandboxes have roots of their own.

        Args:
            merger: that would make it.
            image: in the store, and held meanwhile.

        Raises:
            MonocoreError: as of the merger.
        """
        if self.backends.private_roots(merger):
            return
        opened = await self.backends.layer_merger(merger)
        with self.store.lease(image, secrets.token_hex(6)), _of(image):
            await opened.merge(root_key(image), image.layers)

    async def sweep(self, plugins: Plugins) -> None:
        """Remove roots that no image and no sandbox needs; what cannot be removed is told as a ``Warned`` event."""
        keep = self.store.root_keys_in_use()
        for backend in plugins.of(Interface.LAYER_MERGER):
            try:
                merger = await self.backends.layer_merger(backend.name)
                for key in await merger.keys() - keep:
                    await merger.remove(key)
            except MonocoreError as error:
                self.listener(Warned(f"roots of {backend.name} were not removed: {error.brief}"))

    async def _sweep_private(self, merger: LayerMerger) -> None:
        """Remove the private roots of sandboxes that died."""
        for key in await merger.keys() - self.store.root_keys_in_use():
            await merger.remove(key)


@contextmanager
def _of(image: Image) -> Generator[None]:
    """What a merger says of a layer is said of the image that has it."""
    try:
        yield
    except MonocoreError as error:
        kind = next((kind for kind in (Corrupt, LimitExceeded, Unsupported) if isinstance(error, kind)), None)
        if kind is None:
            raise
        name = image.references[0] if image.references else image.digest.short
        hint = error.hint or "the image is at fault: take another version of it, or ask who has made it"
        raise kind(f"image {name}: {error.brief}", hint=hint) from error


def root_key(image: Image) -> str:
    """The key under which a merger keeps the image's root: one for all images with the same layers."""
    chain = image.chain_id
    return f"{chain.algorithm}-{chain.hex}"
