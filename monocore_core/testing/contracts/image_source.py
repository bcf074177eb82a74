"""What every image source promises, as tests.

A plugin subclasses :class:`ImageSourceContract` in its own test file and says how an image gets to where the source reads it::

    import pytest
    from monocore_core.testing.contracts.image_source import ImageSourceContract
    from monocore_oci_mine import PROVIDER

    class TestContract(ImageSourceContract):
        @pytest.fixture
        def provider(self) -> ImageSourceProvider[MineOptions]:
            return PROVIDER

        @pytest.fixture
        def publish(self, tmp_path: Path) -> Publish:
            def publish(image: BuiltImage, name: str) -> str:
                ...  # put it there
                return f"mine:{tmp_path}/{name}"
            return publish

``publish`` may be asked for images whose blobs are wrong (``spoil``: bytes that replace the layer's); a place that checks what it is given
raises :class:`CannotStage`, and the clause is reported as skipped. References that are ``absent`` are the subclass's to name, when the
one that is made from a published one does not do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from attrs import evolve, frozen

from monocore_core.errors import Corrupt, MonocoreError, NotFound
from monocore_core.interfaces.image_source import ImageSource, ResolvedImage
from monocore_core.interfaces.provider import Host, ImageSourceProvider
from monocore_core.model.digest import Digest
from monocore_core.model.oci import Descriptor, Platform
from monocore_core.reference import Reference, parse_reference
from monocore_core.testing.cancelling import every_suspension
from monocore_core.testing.filespec import file
from monocore_core.testing.images import BuiltImage, build_image, build_index
from monocore_core.testing.processes import descriptors, tree

#: Largest chunk that a source may give, bytes.
MAX_CHUNK = 4 * 1024 * 1024
#: Connections that a source may keep for its next request, descriptors.
KEPT = 4
PLATFORM = Platform("linux", "amd64")
OTHER = Platform("linux", "arm64")


class CannotStage(Exception):
    """A place refuses what a clause wants to put there."""


class Publish(Protocol):
    """Puts an image where the source reads it; gives the reference to ask for."""

    def __call__(self, image: BuiltImage, name: str) -> str:
        """Raises CannotStage where the place takes no such image."""
        ...


@frozen
class Stand:
    """One opened source.

    Attributes:
        provider: under test.
        options: for it.
        host: its places.
        source: opened.
        publish: makes images available.
    """

    provider: ImageSourceProvider[object]
    options: object
    host: Host
    source: ImageSource
    publish: Publish

    def again(self) -> AbstractAsyncContextManager[ImageSource]:
        """A further instance."""
        return self.provider.create(self.host, self.options)

    def reference(self, text: str) -> Reference:
        """As the engine parses it."""
        return parse_reference(text, schemes=frozenset(self.provider.capabilities.schemes))

    def staged(self, image: BuiltImage, name: str) -> Reference:
        """Published; a skip where the place takes no such image."""
        try:
            return self.reference(self.publish(image, name))
        except CannotStage as error:
            pytest.skip(f"cannot be staged: {error}")

    async def blob(self, image: ResolvedImage, number: int, offset: int = 0) -> bytes:
        """A layer from an offset on, chunk by chunk within the bounds."""
        found = b""
        async with self.source.open_blob(image, image.manifest.layers[number], offset) as chunks:
            async for chunk in chunks:
                assert 0 < len(chunk) <= MAX_CHUNK
                found += chunk
        return found


def sample(label: str = "a", platform: Platform = PLATFORM) -> BuiltImage:
    """Two layers, the second larger than one chunk of most transports."""
    big = bytes(range(256)) * 4096 + label.encode()
    return build_image([[file("etc/name", label.encode())], [file("big", big)]], platform=platform)


async def read_through(source: ImageSource, image: ResolvedImage, descriptor: Descriptor) -> None:
    """Read a blob to its end."""
    async with source.open_blob(image, descriptor) as chunks:
        async for _ in chunks:
            pass


class SourceFixtures:
    """Fixtures of the contract. A subclass gives ``provider`` and ``publish``; the others are its choice."""

    @pytest.fixture
    def provider(self) -> ImageSourceProvider[object]:
        """The provider under test."""
        raise NotImplementedError(f"{type(self).__name__} gives no fixture 'provider'")

    @pytest.fixture
    def options(self, provider: ImageSourceProvider[object]) -> object:
        """Its options; unless overridden, the defaults."""
        return provider.options()

    @pytest.fixture
    def publish(self) -> Publish:
        """Makes images available to the source."""
        raise NotImplementedError(f"{type(self).__name__} gives no fixture 'publish'")

    @pytest.fixture
    def absent(self) -> Callable[[str], str]:
        """From a reference that is there to one that is not."""
        return lambda text: f"{text.rpartition(':')[0]}:no-such-tag"

    @pytest.fixture
    def host(self, tmp_path: Path) -> Host:
        """The backend's places."""
        made = Host(tmp_path / "state", tmp_path / "cache")
        for folder in (made.state, made.cache):
            folder.mkdir(mode=0o700)
        return made

    @pytest_asyncio.fixture
    async def stand(
        self, provider: ImageSourceProvider[object], options: object, publish: Publish, host: Host
    ) -> AsyncGenerator[Stand]:
        """The source, opened; a skip where the host cannot."""
        problem = provider.probe(host, options)
        if problem is not None:
            pytest.skip(f"{provider.name}: {problem.reason}" + (f" ({problem.hint})" if problem.hint else ""))
        async with provider.create(host, options) as source:
            yield Stand(provider, options, host, source, publish)


@pytest.mark.asyncio
class ImageSourceContract(SourceFixtures):
    """The promises of :mod:`monocore_core.interfaces.image_source`."""

    async def test_an_image_is_resolved_to_its_documents(self, stand: Stand) -> None:
        """The manifest's bytes hash to the digest, and say what was published."""
        image = sample()
        reference = stand.staged(image, "one")
        found = await stand.source.resolve(reference, PLATFORM)
        assert found.reference == reference
        assert Digest.of(found.manifest_bytes) == found.digest
        assert len(found.manifest.layers) == len(image.layers)
        async with stand.source.open_blob(found, found.manifest.config) as chunks:
            config = b"".join([chunk async for chunk in chunks])
        assert Digest.of(config) == found.manifest.config.digest
        assert all(str(diff_id).encode() in config for diff_id in image.diff_ids)

    async def test_blobs_are_exact(self, stand: Stand) -> None:
        """Every layer hashes to its descriptor's digest and has its size; chunks are neither empty nor huge."""
        found = await stand.source.resolve(stand.staged(sample(), "one"), PLATFORM)
        for number, layer in enumerate(found.manifest.layers):
            data = await stand.blob(found, number)
            assert (Digest.of(data), len(data)) == (layer.digest, layer.size)

    async def test_a_blob_goes_on_from_an_offset(self, stand: Stand) -> None:
        """That is how a download resumes."""
        found = await stand.source.resolve(stand.staged(sample(), "one"), PLATFORM)
        whole = await stand.blob(found, 1)
        for offset in (1, len(whole) // 2, len(whole) - 1):
            assert await stand.blob(found, 1, offset) == whole[offset:]

    async def test_a_repeat_gives_the_same(self, stand: Stand) -> None:
        """And so does another instance."""
        reference = stand.staged(sample(), "one")
        found = await stand.source.resolve(reference, PLATFORM)
        assert await stand.source.resolve(reference, PLATFORM) == found
        async with stand.again() as other:
            assert await other.resolve(reference, PLATFORM) == found

    async def test_a_repeat_asks_again(self, stand: Stand) -> None:
        """A name may mean another image by now."""
        first = await stand.source.resolve(stand.staged(sample("a"), "moving"), PLATFORM)
        second = await stand.source.resolve(stand.staged(sample("b"), "moving"), PLATFORM)
        assert second.digest != first.digest
        assert Digest.of(await stand.blob(second, 0)) == second.manifest.layers[0].digest

    async def test_the_platforms_image_is_chosen(self, stand: Stand) -> None:
        """Of an index."""
        index = build_index([sample("a"), sample("b", OTHER)])
        reference = stand.staged(index, "many")
        ours = await stand.source.resolve(reference, PLATFORM)
        theirs = await stand.source.resolve(reference, OTHER)
        assert ours.digest != theirs.digest
        for found, image in ((ours, index.children[0]), (theirs, index.children[1])):
            data = await stand.blob(found, 0)
            assert Digest.of(data) in (image.layers[0].digest, image.diff_ids[0])

    async def test_a_platform_that_is_not_there_is_not_found(self, stand: Stand) -> None:
        """And the message says which there are."""
        reference = stand.staged(build_index([sample("a"), sample("b", OTHER)]), "many")
        with pytest.raises(NotFound) as raised:
            await stand.source.resolve(reference, Platform("linux", "s390x"))
        assert "s390x" in raised.value.brief
        said = f"{raised.value.brief} {raised.value.hint or ''}"
        assert "amd64" in said or "arm64" in said

    async def test_an_unknown_image_is_not_found(self, stand: Stand, absent: Callable[[str], str]) -> None:
        """An error of ours, that names it."""
        text = stand.publish(sample(), "one")
        with pytest.raises(NotFound) as raised:
            await stand.source.resolve(stand.reference(absent(text)), PLATFORM)
        assert raised.value.brief

    async def test_an_unknown_blob_is_not_found(self, stand: Stand) -> None:
        """On entering, or while reading."""
        found = await stand.source.resolve(stand.staged(sample(), "one"), PLATFORM)
        unknown = evolve(found.manifest.layers[0], digest=Digest.of(b"nowhere"))
        with pytest.raises(NotFound):
            await read_through(stand.source, found, unknown)

    async def test_a_blob_of_another_size_is_corrupt(self, stand: Stand) -> None:
        """Fewer bytes, or more, than the descriptor says."""
        found = await stand.source.resolve(stand.staged(sample(), "one"), PLATFORM)
        layer = found.manifest.layers[0]
        for size in (layer.size + 1, layer.size - 1):
            with pytest.raises(Corrupt):
                await read_through(stand.source, found, evolve(layer, size=size))

    async def test_many_at_once(self, stand: Stand) -> None:
        """Resolving and reading, all with one source."""
        reference = stand.staged(sample(), "one")

        async def one() -> bytes:
            found = await stand.source.resolve(reference, PLATFORM)
            first, second = await asyncio.gather(stand.blob(found, 0), stand.blob(found, 1))
            return first + second

        results = await asyncio.gather(*(one() for _ in range(6)))
        assert len(set(results)) == 1

    async def test_leaving_a_stream_early_closes_it(self, stand: Stand) -> None:
        """Descriptors do not pile up, and the source goes on."""
        found = await stand.source.resolve(stand.staged(sample(), "one"), PLATFORM)
        await stand.blob(found, 1)
        before = descriptors()
        for _ in range(12):
            async with stand.source.open_blob(found, found.manifest.layers[1]) as chunks:
                async for _chunk in chunks:
                    break
        more = sum((descriptors() - before).values())
        assert more <= KEPT, f"{more} more descriptors after 12 streams that were left"
        assert len(await stand.blob(found, 1)) == found.manifest.layers[1].size

    async def test_cancellation_leaves_the_source_usable(self, stand: Stand) -> None:
        """At every await of resolving and reading."""
        reference = stand.staged(sample(), "one")

        async def work() -> int:
            found = await stand.source.resolve(reference, PLATFORM)
            return len(await stand.blob(found, 1))

        wanted, before = await work(), descriptors()
        async for step in every_suspension(work):
            if step.finished:
                assert step.value == wanted
        assert await work() == wanted
        more = sum((descriptors() - before).values())
        assert more <= KEPT, f"{more} more descriptors after reads that were cancelled"

    async def test_closing_leaves_nothing(self, stand: Stand) -> None:
        """No descriptor, and nothing in its folder that grows with what was read."""
        reference = stand.staged(sample(), "one")
        before, files = descriptors(), tree(stand.host.state)
        async with stand.again() as source:
            found = await source.resolve(reference, PLATFORM)
            await read_through(source, found, found.manifest.layers[1])
        more = descriptors() - before
        assert not more, f"descriptors are left open: {dict(more)}"
        assert tree(stand.host.state) == files

    async def test_what_goes_wrong_is_an_error_of_ours(self, stand: Stand) -> None:
        """A name that nobody could have published."""
        text = stand.publish(sample(), "one")
        for wrong in (f"{text}x", f"{text.rpartition('/')[0]}/nothing-here:x"):
            try:
                reference = stand.reference(wrong)
            except MonocoreError:
                continue
            with pytest.raises(MonocoreError):
                await stand.source.resolve(reference, PLATFORM)
