"""What every layer merger promises, as tests.

A plugin subclasses :class:`LayerMergerContract` in its own test file::

    import pytest
    from monocore_core.testing.contracts.layer_merger import LayerMergerContract
    from monocore_layer_mine import PROVIDER

    class TestContract(LayerMergerContract):
        @pytest.fixture
        def provider(self) -> LayerMergerProvider[MineOptions]:
            return PROVIDER

        @pytest.fixture  # optional: other options than the defaults
        def options(self) -> MineOptions: ...

        @pytest.fixture  # optional: how a root is read back, when it is neither a folder nor an EROFS disk
        def read(self) -> Callable[[RootFs], Mapping[bytes, Found]]: ...

Roots are compared with a model of the OCI image specification's "Applying Changesets", for sample layers and for generated ones. As an
ordinary user, owners, modes, attributes and devices of folders are left out of the comparison.
"""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import HealthCheck, given, settings

from monocore_core.errors import Corrupt, MonocoreError
from monocore_core.layertar import EntryKind
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DiskRoot, RootKind
from monocore_core.testing.cancelling import every_suspension
from monocore_core.testing.contracts.merger_base import (
    LOWER,
    STACK,
    UPPER,
    MergeOrder,
    MergerFixtures,
    Stand,
    Traces,
    new_key,
)
from monocore_core.testing.contracts.starter import Starter, Then
from monocore_core.testing.layer_model import LayerMember, Member
from monocore_core.testing.layers import Stack, stacks
from monocore_core.testing.processes import tree


@pytest.mark.asyncio
class LayerMergerContract(MergerFixtures):
    """The promises of :mod:`monocore_core.interfaces.layer_merger` and of the capabilities."""

    async def test_a_root_holds_the_merged_tree(self, stand: Stand) -> None:
        """Whiteouts, opaque folders, replaced files, links to lower layers, owners and modes."""
        stand.shows(await stand.merger.merge(new_key(), stand.layers()))

    async def test_generated_stacks_merge_as_the_model_says(self, stand: Stand) -> None:
        """Any valid stack of layers."""
        loop = asyncio.get_running_loop()

        async def one(stack: Stack) -> None:
            key = new_key()
            stand.shows(await stand.merger.merge(key, stand.layers(stack)), stack)
            await stand.merger.remove(key)

        # made here, and not when the module is imported, so that the session's profile of hypothesis is heeded
        @given(stack=stacks())
        @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        def every(stack: Stack) -> None:
            asyncio.run_coroutine_threadsafe(one(stack), loop).result()

        await asyncio.to_thread(every)

    async def test_the_root_is_what_the_capabilities_say(self, stand: Stand) -> None:
        """Its kind, and of a disk the format and file system, with every file behind it named."""
        promised = stand.provider.capabilities
        root = await stand.merger.merge(new_key(), stand.layers())
        assert root.kind is promised.root
        assert root.path.is_absolute()
        if isinstance(root, DiskRoot):
            assert (root.format, root.filesystem) == (promised.disk_format, promised.filesystem)
            assert root.path in root.files
            assert all(path.is_file() for path in root.files)
        else:
            assert root.path.is_dir()
            assert promised.root is RootKind.DIRECTORY

    async def test_a_repeat_gives_an_equal_value_and_does_no_work(self, stand: Stand) -> None:
        """Nothing in the backend's folder is made again."""
        key, layers = new_key(), stand.layers()
        first = await stand.merger.merge(key, layers)
        before = tree(stand.host.state)
        assert await stand.merger.merge(key, layers) == first
        assert tree(stand.host.state) == before

    async def test_two_at_once_get_one_root(self, stand: Stand) -> None:
        """The same key from several tasks and instances."""
        key, layers = new_key(), stand.layers()
        async with stand.again() as other:
            mergers = (stand.merger, other, stand.merger, other)
            roots = await asyncio.gather(*(merger.merge(key, layers) for merger in mergers))
        assert all(root == roots[0] for root in roots)
        stand.shows(roots[0])

    async def test_different_keys_at_once_are_different_roots(self, stand: Stand) -> None:
        """Removing one leaves the other."""
        one, two = new_key(), new_key()
        first, second = await asyncio.gather(
            stand.merger.merge(one, stand.layers((LOWER,))), stand.merger.merge(two, stand.layers())
        )
        await stand.merger.remove(one)
        stand.shows(second)
        assert await stand.merger.find(two) == second
        assert first != second

    async def test_another_instance_finds_the_root(self, stand: Stand) -> None:
        """Keys outlive the process: an instance that did not merge gives the same value."""
        key, layers = new_key(), stand.layers()
        async with stand.again() as first:
            root = await first.merge(key, layers)
        async with stand.again() as second:
            assert await second.merge(key, layers) == root
        stand.shows(root)

    async def test_find_and_keys_know_what_is_complete(self, stand: Stand) -> None:
        """Nothing before, the value after, nothing once removed."""
        key = new_key()
        assert await stand.merger.find(key) is None
        assert key not in await stand.merger.keys()
        root = await stand.merger.merge(key, stand.layers())
        assert await stand.merger.find(key) == root
        assert key in await stand.merger.keys()
        await stand.merger.remove(key)
        assert await stand.merger.find(key) is None
        assert key not in await stand.merger.keys()

    async def test_removing_an_unknown_key_is_no_error(self, stand: Stand) -> None:
        """And a repeat is none."""
        await stand.merger.remove(new_key())
        key = new_key()
        await stand.merger.merge(key, stand.layers())
        await stand.merger.remove(key)
        await stand.merger.remove(key)

    async def test_a_removed_root_is_gone(self, stand: Stand) -> None:
        """Its bytes, its mounts, and every descriptor."""
        before = Traces.of(stand.host)
        async with stand.again() as merger:
            key = new_key()
            root = await merger.merge(key, stand.layers())
            await merger.remove(key)
        before.check()
        assert not root.path.is_file()
        assert not root.path.is_dir() or not any(root.path.iterdir())

    async def test_a_removed_root_can_be_made_again(self, stand: Stand) -> None:
        """Under the same key."""
        key, layers = new_key(), stand.layers()
        await stand.merger.merge(key, layers)
        await stand.merger.remove(key)
        stand.shows(await stand.merger.merge(key, layers))

    async def test_the_layers_stay_as_they_are(self, stand: Stand) -> None:
        """They are shared with other images."""
        layers = stand.layers()
        before = [_state(layer) for layer in layers]
        key = new_key()
        await stand.merger.merge(key, layers)
        await stand.merger.remove(key)
        assert [_state(layer) for layer in layers] == before

    async def test_cancellation_leaves_nothing_visible(self, stand: Stand) -> None:
        """At every await of a merge; the next merge is whole."""
        layers = stand.layers()
        key = new_key()
        async for step in every_suspension(lambda: stand.merger.merge(key, layers)):
            if not step.finished:
                found = await stand.merger.find(key)
                if found is not None:  # it was complete when the cancellation came
                    stand.shows(found)
                assert (key in await stand.merger.keys()) == (found is not None)
            await stand.merger.remove(key)
        stand.shows(await stand.merger.merge(key, layers))

    async def test_a_killed_process_leaves_a_whole_root_or_none(self, stand: Stand) -> None:
        """And the next merge of the key completes."""
        layers = stand.layers((*STACK, _many()))
        for _ in range(3):
            key = new_key()
            order = MergeOrder(stand.provider, stand.options, stand.host, key, layers, Then.STAY)
            async with Starter(order) as starter:
                starter.kill()
                await starter.left()
            async with stand.again() as merger:
                found = await merger.find(key)
                if found is not None:
                    stand.shows(found, (*STACK, _many()))
                stand.shows(await merger.merge(key, layers), (*STACK, _many()))

    async def test_another_processes_root_is_found(self, stand: Stand) -> None:
        """That it made, and left."""
        key, layers = new_key(), stand.layers()
        order = MergeOrder(stand.provider, stand.options, stand.host, key, layers, Then.CLOSE)
        async with Starter(order) as starter:
            await starter.left()
        stand.shows(await stand.merger.merge(key, layers))

    @pytest.mark.parametrize("damage", ["cut", "noise", "climbs"])
    async def test_a_damaged_layer_is_corrupt(self, stand: Stand, damage: str) -> None:
        """And leaves nothing: not even a key."""
        before = Traces.of(stand.host)
        key = new_key()
        with pytest.raises(Corrupt):
            await stand.merger.merge(key, (*stand.layers((LOWER,)), _damaged(stand, damage)))
        assert await stand.merger.find(key) is None
        assert key not in await stand.merger.keys()
        before.check()

    async def test_a_missing_layer_is_an_error_of_ours(self, stand: Stand) -> None:
        """Not an OSError; and nothing stays."""
        before = Traces.of(stand.host)
        (layer,) = stand.layers((UPPER,))
        layer.path.unlink()
        key = new_key()
        with pytest.raises(MonocoreError):
            await stand.merger.merge(key, (*stand.layers((LOWER,)), layer))
        assert key not in await stand.merger.keys()
        before.check()


def _state(layer: Layer) -> tuple[bytes, int, int]:
    status = layer.path.stat()
    return hashlib.sha256(layer.path.read_bytes()).digest(), status.st_mode, status.st_mtime_ns


def _many() -> tuple[LayerMember, ...]:
    """A layer that takes a moment."""
    return tuple(
        Member(b"many/%d" % number, EntryKind.FILE, content=b"%d" % number * 100) for number in range(400)
    )


def _damaged(stand: Stand, damage: str) -> Layer:
    (whole,) = stand.layers((LOWER,))
    data = whole.path.read_bytes()
    if damage == "cut":
        data = data[: len(data) // 2 + 100]
    elif damage == "noise":
        data = bytes(range(1, 255)) * 100
    else:
        data = data.replace(b"etc/name", b"../../nm", 1)
        header = bytearray(data[data.index(b"../../nm") :][:512])
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        at = data.index(b"../../nm")
        data = data[:at] + bytes(header) + data[at + 512 :]
    path = stand.store / f"{damage}.tar"
    path.write_bytes(data)
    return Layer(Digest.of(data), path, len(data))
