"""Folders hold exactly what the model of layer application says, as far as their user can keep it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings

from monocore_core.errors import Corrupt
from monocore_core.foldertree import Keep, Limits, merge_into
from monocore_core.layertar import EntryKind
from monocore_core.model.rootfs import Ownership
from monocore_core.testing.folder_reader import mapped, on_disk, read_folder
from monocore_core.testing.layer_model import Found, apply_layers
from monocore_core.testing.layers import Stack, layer_file, stacks, tar_of

OVERRIDE = b"user.containers.override_stat"
DEVICES = {EntryKind.CHARACTER, EntryKind.BLOCK}


def go_on() -> None:
    pass


def merged(stack: Stack, keep: Keep) -> dict[bytes, Found] | None:
    """The folder read back, or None when the stack is refused as corrupt."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layers = [layer_file(folder, tar_of(layer)) for layer in stack]
        try:
            merge_into(folder / "root", layers, keep, Limits(), go_on)
        except Corrupt:
            return None
        assert not (folder / "root.links").exists()
        return read_folder(folder / "root")


def expected(stack: Stack) -> dict[bytes, Found] | None:
    try:
        return on_disk(apply_layers(stack))
    except Corrupt:
        return None


@pytest.mark.root
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_root_keeps_everything(stack: Stack) -> None:
    keep = Keep(Ownership.NATIVE)
    assert merged(stack, keep) == expected(stack)
    assert not [text for text in keep.notes.sentences() if "com.apple" not in text]


@pytest.mark.root
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(valid=False, size=5))
def test_any_stack_is_written_or_refused_as_the_model_says(stack: Stack) -> None:
    assert merged(stack, Keep(Ownership.NATIVE)) == expected(stack)


def restored(found: Found) -> Found:
    """What the attribute says of the owner and mode."""
    xattrs = dict(found.xattrs)
    value = xattrs.pop(OVERRIDE, None)
    if value is None:
        return evolve(found, uid=0, gid=0, mode=0)
    uid, gid, mode = value.split(b":")
    assert mode.startswith(b"0")
    plain = int(mode, 8) | (0o700 if found.kind is EntryKind.DIRECTORY else 0o600)
    if found.kind is EntryKind.FILE:  # nobody may become the one whom we made the owner instead
        plain &= ~(0o4000 if int(uid) else 0) & ~(0o2000 if int(gid) else 0)
    assert found.mode == plain
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    return evolve(found, uid=int(uid), gid=int(gid), mode=int(mode, 8), xattrs=xattrs)


def kept_by_users(found: Found) -> Found | None:
    if found.kind in DEVICES:
        return None
    plain = found.kind in {EntryKind.FILE, EntryKind.DIRECTORY}
    owner = (found.uid, found.gid, found.mode) if plain else (0, 0, 0)
    return evolve(found, uid=owner[0], gid=owner[1], mode=owner[2], xattrs={})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_users_keep_owners_and_modes_in_an_attribute(stack: Stack) -> None:
    """Also run as root, who can do it, too; other attributes depend on the user, and are left out of the comparison."""
    found, wanted = merged(stack, Keep(Ownership.OVERRIDE_STAT)), expected(stack)
    assert found is not None
    assert wanted is not None
    plain = mapped(mapped(found, restored), lambda one: evolve(one, xattrs={}))
    assert plain == mapped(wanted, kept_by_users)
