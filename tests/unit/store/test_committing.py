"""Images of a layer that comes from whoever is not trusted; and a death at any step, after which no name leads to something incomplete."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monocore_core.errors import GuestError, InvalidInput, LimitExceeded
from monocore_core.model.digest import Digest
from monocore_core.model.image import Image
from monocore_core.model.oci import Platform
from monocore_core.ocidoc.derive import Commit
from monocore_core.reference import Reference
from monocore_core.store import Limits, Store
from monocore_core.testing.memory import MemorySource, memory_image

AMD64 = Platform("linux", "amd64")
BASE, NEW = Reference("docker.io", "library/base", "1"), Reference("docker.io", "library/new", "1")
DIED = 9


def layer(size: int = 10) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("./file")
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return stream.getvalue()


async def pieces(data: bytes, size: int = 40_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def base_of(store: Store) -> Image:
    source = MemorySource()
    source.add(BASE, memory_image([b"base" * 1000]))
    return asyncio.run(store.pull(source, BASE, AMD64))


def test_an_image_and_one_layer_more(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        base, data = base_of(store), layer(3_000_000)
        said = Commit("why", changes=("ENV A=1",))
        made = asyncio.run(store.commit(base, pieces(data), said, AMD64, names=(NEW,)))
        assert store.find_image(NEW, AMD64) == made
        assert made.layers[:-1] == base.layers
        assert made.layers[-1].diff_id == Digest.of(data)
        assert made.layers[-1].path.read_bytes() == data
        assert made.layers[-1].path.stat().st_blocks * 512 < 1_500_000  # zeros are holes
        assert "A=1" in made.config.env
        nameless = asyncio.run(store.commit(base, pieces(data), said, AMD64))
        assert nameless.references == ()
        assert nameless.layers == made.layers
        store.remove_image(NEW)
        store.remove_image(BASE)
        store.prune()
        assert list(store.layout.layers.glob("*/*")) == []


@pytest.mark.parametrize(
    "data", [b"no tar at all" * 100, layer()[:515], layer().replace(b"./file", b"../../", 1)]
)
def test_what_is_no_layer_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    with Store.open(tmp_path) as store:
        base = base_of(store)
        with pytest.raises(GuestError, match="is no layer"):
            asyncio.run(store.commit(base, pieces(data), Commit(), AMD64, names=(NEW,)))
        _only_base(store, base)


def test_a_layer_without_end_is_cut_off(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_000_000):
            yield bytes(100_000)

    with Store.open(tmp_path) as store:
        base = base_of(store)
        commit = store.commit(base, endless(), Commit(), AMD64, limits=Limits(layer=5_000_000))
        with pytest.raises(LimitExceeded, match="5000000 bytes"):
            asyncio.run(commit)
        _only_base(store, base)


def test_changes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b""
        raise AssertionError("the layer was read")

    with Store.open(tmp_path) as store, pytest.raises(InvalidInput, match="RUN"):
        asyncio.run(store.commit(base_of(store), never(), Commit(changes=("RUN make",)), AMD64))


@pytest.mark.parametrize("step", ["commit-written", "commit-renamed", "commit-recording"])
def test_death_leaves_no_name_and_no_stray_file(tmp_path: Path, step: str) -> None:
    with Store.open(tmp_path) as store:
        base = base_of(store)
    child = os.fork()
    if child == 0:

        def die(name: str) -> None:
            if name == step:
                os._exit(DIED)

        try:
            with Store.open(tmp_path, checkpoint=die) as store:
                asyncio.run(store.commit(base, pieces(layer()), Commit(), AMD64, names=(NEW,)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED
    with Store.open(tmp_path) as store:
        assert store.find_image(NEW, AMD64) is None
        store.prune()
        _only_base(store, base)
        made = asyncio.run(store.commit(base, pieces(layer()), Commit(), AMD64, names=(NEW,)))
        assert store.find_image(NEW, AMD64) == made


def _only_base(store: Store, base: Image) -> None:
    assert store.images() == [base]
    assert list(store.layout.temporaries.iterdir()) == []
    assert list(store.layout.layers.glob("*/*")) == [base.layers[0].path]
    assert store.leases() == []
