"""One broken merger for each clause of the contract: it breaks that promise, by a mistake that someone could make."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Sequence

from monocore_core.errors import Corrupt, MonocoreError, NotFound, Unsupported
from monocore_core.model.image import Layer
from monocore_core.model.rootfs import DirectoryRoot, DiskFormat, DiskRoot, RootFs
from tests.conformance.merger_fakes import Merger, folder_of

#: Open for the life of the process, on purpose.
LEAKED: list[int] = []


class FirstLayerOnly(Merger):
    """Forgets that there are layers above."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        return await self.inner.merge(key, layers[:1])


class NoSymlinks(Merger):
    """Leaves symbolic links out."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        root = await self.inner.merge(key, layers)
        for path in [*folder_of(root).rglob("*")]:
            if path.is_symlink():
                path.unlink()
        return root


class AnotherKind(Merger):
    """Promises a folder and gives a disk."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        root = await self.inner.merge(key, layers)
        disk = root.path.with_suffix(".disk")
        disk.write_bytes(b"")
        return DiskRoot(disk, DiskFormat.RAW, "erofs", (disk,))


class AlwaysAnew(Merger):
    """Does the work again at every repeat."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        root = await self.inner.merge(key, layers)
        (self.host.state / f"made-{time.monotonic_ns()}").write_text("")
        return root


class OwnCopies(Merger):
    """Gives everyone who asks at once a copy."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        root = await self.inner.merge(key, layers)
        copy = self.host.cache / f"copy-{time.monotonic_ns()}"
        shutil.copytree(root.path, copy, symlinks=True)
        return DirectoryRoot(copy)


class OneFolder(Merger):
    """One folder for every key."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        return await self.inner.merge("sha256-one", layers)

    async def remove(self, key: str) -> None:
        await self.inner.remove("sha256-one")

    async def find(self, key: str) -> RootFs | None:
        return await self.inner.find("sha256-one")


class ForgetsAtTheEnd(Merger):
    """Where a root is depends on the instance."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        return await self.inner.merge(f"{key[:60]}{id(self) % 1000:03}", layers)


class FindsHalfMade(Merger):
    """Tells of keys that were removed."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.seen: set[str] = set()

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        self.seen.add(key)
        return await self.inner.merge(key, layers)

    async def keys(self) -> frozenset[str]:
        return frozenset(self.seen)


class UnknownKeyFails(Merger):
    """Complains of a key that it does not know."""

    async def remove(self, key: str) -> None:
        if await self.inner.find(key) is None:
            raise NotFound(key)
        await self.inner.remove(key)


class LeavesTheBytes(Merger):
    """Forgets the key, keeps the files, and a descriptor."""

    async def remove(self, key: str) -> None:
        root = await self.inner.find(key)
        if root is not None:
            shutil.copytree(root.path, self.host.state / f"trash-{key}", symlinks=True)
            LEAKED.append(os.open(root.path, os.O_RDONLY))
        await self.inner.remove(key)


class OnceOnly(Merger):
    """A key that was removed cannot be used again."""

    gone: frozenset[str] = frozenset()

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        if key in self.gone:
            raise Unsupported(f"{key} was removed")
        return await self.inner.merge(key, layers)

    async def remove(self, key: str) -> None:
        self.gone |= {key}
        await self.inner.remove(key)


class TakesTheLayers(Merger):
    """Marks the layers that it has read."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        root = await self.inner.merge(key, layers)
        for layer in layers:
            with layer.path.open("ab") as file:
                file.write(bytes(512))
        return root


class VisibleWhenCancelled(Merger):
    """Registers the key before the work is done."""

    begun: frozenset[str] = frozenset()

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        self.begun |= {key}
        return await self.inner.merge(key, layers)

    async def remove(self, key: str) -> None:
        self.begun -= {key}
        await self.inner.remove(key)

    async def keys(self) -> frozenset[str]:
        return await self.inner.keys() | self.begun


class InPlace(Merger):
    """Makes the folder where it will stand, so that a crash leaves it half made, and takes it for whole."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        final = self.host.state / f"place-{key}"
        if not final.exists():
            final.mkdir()
            await asyncio.sleep(0.05)
            root = await self.inner.merge(key, layers)
            shutil.copytree(root.path, final, symlinks=True, dirs_exist_ok=True)
        return DirectoryRoot(final)


class OfThisProcess(Merger):
    """Takes only what this process made."""

    made: frozenset[str] = frozenset()

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        found = await self.inner.find(key)
        if found is not None and key not in self.made:
            raise Unsupported("made by another process")
        self.made |= {key}
        return await self.inner.merge(key, layers)


class OtherErrors(Merger):
    """Calls everything that goes wrong unsupported."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        try:
            return await self.inner.merge(key, layers)
        except Corrupt as error:
            raise Unsupported(error.brief) from error


class RawErrors(Merger):
    """Lets the system's errors through."""

    async def merge(self, key: str, layers: Sequence[Layer]) -> RootFs:
        try:
            return await self.inner.merge(key, layers)
        except MonocoreError as error:
            raise FileNotFoundError(error.brief) from error


BROKEN: dict[str, type[Merger]] = {
    "test_a_root_holds_the_merged_tree": FirstLayerOnly,
    "test_generated_stacks_merge_as_the_model_says": NoSymlinks,
    "test_the_root_is_what_the_capabilities_say": AnotherKind,
    "test_a_repeat_gives_an_equal_value_and_does_no_work": AlwaysAnew,
    "test_two_at_once_get_one_root": OwnCopies,
    "test_different_keys_at_once_are_different_roots": OneFolder,
    "test_another_instance_finds_the_root": ForgetsAtTheEnd,
    "test_find_and_keys_know_what_is_complete": FindsHalfMade,
    "test_removing_an_unknown_key_is_no_error": UnknownKeyFails,
    "test_a_removed_root_is_gone": LeavesTheBytes,
    "test_a_removed_root_can_be_made_again": OnceOnly,
    "test_the_layers_stay_as_they_are": TakesTheLayers,
    "test_cancellation_leaves_nothing_visible": VisibleWhenCancelled,
    "test_a_killed_process_leaves_a_whole_root_or_none": InPlace,
    "test_another_processes_root_is_found": OfThisProcess,
    "test_a_damaged_layer_is_corrupt": OtherErrors,
    "test_a_missing_layer_is_an_error_of_ours": RawErrors,
}
