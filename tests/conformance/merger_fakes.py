"""A stranger's merger that keeps the contract: the copying one, behind functions of its own that a fake can break one by one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from monocore_layer_copy import SHARED, CopyOptions

from monocore_core.interfaces.layer_merger import LayerMerger
from monocore_core.interfaces.provider import Host, LayerMergerProvider, MergerCapabilities, NoOptions
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import RootFs, RootKind


class Merger:
    """Passes everything on."""

    def __init__(self, inner: LayerMerger, host: Host) -> None:
        self.inner = inner
        self.host = host

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        return await self.inner.merge(key, layers)

    async def find(self, key: str) -> RootFs | None:
        return await self.inner.find(key)

    async def remove(self, key: str) -> None:
        await self.inner.remove(key)

    async def keys(self) -> frozenset[str]:
        return await self.inner.keys()


@asynccontextmanager
async def _create(fake: type[Merger], host: Host, options: NoOptions) -> AsyncGenerator[Merger]:
    del options
    async with SHARED.create(host, CopyOptions()) as inner:
        yield fake(inner, host)


def provider(fake: type[Merger]) -> LayerMergerProvider[NoOptions]:
    """A provider of a fake."""
    create: Callable[[Host, NoOptions], AbstractAsyncContextManager[LayerMerger]] = partial(_create, fake)
    return LayerMergerProvider(
        name="test_merger",
        api=1,
        summary="a stranger's",
        rank=1,
        capabilities=MergerCapabilities(root=RootKind.DIRECTORY),
        options=NoOptions,
        create=create,
    )


def folder_of(root: RootFs) -> Path:
    """Of a folder root."""
    return root.path
