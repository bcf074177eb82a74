"""Mounted roots hold exactly what the model of layer application says, in the kernel's own words."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from monocore_layer_overlayfs import PROVIDER, OverlayOptions

from monocore_core.errors import Corrupt
from monocore_core.interfaces.provider import Host
from monocore_core.layertar import EntryKind, Opaque, Whiteout
from monocore_core.model.events import Event, Warned
from monocore_core.testing.folder_reader import mapped, on_disk, read_folder
from monocore_core.testing.layer_model import Found, LayerMember, Member, apply_layers
from monocore_core.testing.layers import Stack, layer_file, stacks, tar_of

pytestmark = [pytest.mark.root, pytest.mark.integration]


def merged(stack: Stack, told: list[Event]) -> dict[bytes, Found] | None:
    """The mounted root read back, or None when it is refused as corrupt."""

    async def merge(folder: Path) -> dict[bytes, Found]:
        layers = [layer_file(folder, tar_of(layer)) for layer in stack]
        async with AsyncExitStack() as cleaning:
            host = Host(folder / "state", folder, told.append)
            merger = await cleaning.enter_async_context(PROVIDER.create(host, OverlayOptions()))
            cleaning.push_async_callback(merger.remove, "key")
            root = await merger.merge("key", layers)
            return read_folder(root.path)

    with tempfile.TemporaryDirectory() as name:
        try:
            return asyncio.run(merge(Path(name)))
        except Corrupt:
            return None


def copied(told: list[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Warned) and "instead of mounting" in event.text]


def expected(stack: Stack) -> dict[bytes, Found] | None:
    try:
        return on_disk(apply_layers(stack))
    except Corrupt:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_valid_stacks_mount_as_the_model_says(stack: Stack) -> None:
    told: list[Event] = []
    assert merged(stack, told) == expected(stack)
    for text in copied(told):
        assert "number 0:0" in text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(valid=False, size=5))
def test_any_stack_mounts_or_is_refused_as_the_model_says(stack: Stack) -> None:
    assert merged(stack, []) == expected(stack)


def file(path: bytes, content: bytes = b"") -> Member:
    return Member(path, EntryKind.FILE, content=content)


def folder(path: bytes, mode: int = 0o755) -> Member:
    return Member(path, EntryKind.DIRECTORY, mode=mode)


CASES: dict[str, Stack] = {
    "a removed file": ((file(b"a"), file(b"b")), (Whiteout(b"a"),)),
    "an opaque folder": ((folder(b"d"), file(b"d/a"), file(b"d/b")), (Opaque(b"d"), file(b"d/c"))),
    "an emptied folder": ((folder(b"d"), file(b"d/a")), (Opaque(b"d"),)),
    "an emptied root": ((file(b"a"), folder(b"d"), file(b"d/x")), (Opaque(b""),)),
    "a file that becomes a folder": ((file(b"a", b"1"),), (folder(b"a"), file(b"a/b", b"2"))),
    "a folder that becomes a file": ((folder(b"a"), file(b"a/b")), (file(b"a", b"2"),)),
    "and back": ((folder(b"a"), file(b"a/b")), (file(b"a", b"2"),), (folder(b"a"), file(b"a/c"))),
    "removed and made again": ((folder(b"a"), file(b"a/b")), (Whiteout(b"a"),), (folder(b"a"), file(b"a/c"))),
    "removed and made again in one": ((folder(b"a"), file(b"a/b")), (Whiteout(b"a"), folder(b"a"), file(b"a/c"))),
    "a hard link to a lower file": ((file(b"a", b"1"),), (Member(b"b", EntryKind.HARDLINK, link=b"a"),)),
    "the same layers again": ((file(b"a"),), (Whiteout(b"a"),), (file(b"a"),)),
    "through a lower symlink": (
        (folder(b"d"), file(b"d/x"), Member(b"l", EntryKind.SYMLINK, link=b"d")),
        (file(b"l/y"), Whiteout(b"l/x")),
    ),
    "only a folder's metadata": ((folder(b"d"), file(b"d/a")), (folder(b"d", 0o700),)),
    "no layers": (),
    "empty layers": ((), ()),
}  # fmt: skip


@pytest.mark.parametrize("stack", CASES.values(), ids=CASES)
def test_cases(stack: tuple[tuple[LayerMember, ...], ...]) -> None:
    told: list[Event] = []
    assert merged(stack, told) == expected(stack)
    assert told == []


def without_links(found: Found) -> Found:
    return evolve(found, links=frozenset[bytes]())


def test_a_name_that_is_removed_leaves_the_others_of_a_file() -> None:
    stack: Stack = (
        (file(b"a", b"1"), Member(b"b", EntryKind.HARDLINK, link=b"a")),
        (Whiteout(b"b"),),
    )
    found = merged(stack, [])
    assert found is not None
    assert mapped(found, without_links) == mapped(apply_layers(stack), without_links)
