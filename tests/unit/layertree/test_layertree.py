"""Applying events to the tree: bounds, refusals, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.layertar import Entry, EntryKind, LayerEvent, Opaque, Segment, Whiteout
from monocore_core.layertree import Tree
from monocore_core.layertree.tree import MAX_DEPTH


def file(path: bytes, size: int = 0, position: int = 0) -> Entry:
    return Entry(path, EntryKind.FILE, 0o644, size=size, position=position)


def folder(path: bytes) -> Entry:
    return Entry(path, EntryKind.DIRECTORY, 0o755)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path, EntryKind.SYMLINK, 0o777, link=target)


def apply(*events: LayerEvent, size: int = 1 << 20) -> Tree:
    tree = Tree()
    tree.apply(0, size, events)
    return tree


def test_files_point_into_their_layer() -> None:
    tree = apply(file(b"a", 700, 1024))
    tree.apply(1, 4096, [file(b"b", 512, 512)])
    children = tree.root.children or {}
    assert (children[b"a"].source, children[b"a"].block) == (0, 2)
    assert (children[b"b"].source, children[b"b"].block) == (1, 1)
    assert not tree.scattered


def test_a_first_layers_removals_are_ignored_without_being_kept() -> None:
    def events() -> Iterator[LayerEvent]:
        yield file(b"a")
        yield Whiteout(b"a")
        yield Opaque(b"")

    assert set(apply(*events()).root.children or {}) == {b"a"}


def test_data_beyond_the_tar_is_refused_by_path() -> None:
    with pytest.raises(Corrupt, match="'big': its data goes beyond"):
        apply(file(b"big", 513, 1024), size=1536)


@pytest.mark.parametrize(
    "segments",
    [
        (Segment(512, 512, 512), Segment(0, 512, 1024)),
        (Segment(0, 600, 512), Segment(512, 10, 1200)),
        (Segment(0, 5000, 512),),
        (Segment(0, 512, 1 << 20),),
        (Segment(0, -1, 512),),
    ],
)
def test_sparse_maps_that_lie_are_refused(segments: tuple[Segment, ...]) -> None:
    with pytest.raises(Corrupt, match="sparse map"):
        apply(Entry(b"s", EntryKind.FILE, 0o644, size=4096, segments=segments))


def test_entries_are_counted_over_all_layers() -> None:
    tree = Tree(max_entries=3)
    tree.apply(0, 0, [file(b"a"), file(b"b")])
    with pytest.raises(LimitExceeded, match="more than 3 entries"):
        tree.apply(1, 0, [file(b"c"), file(b"d")])


def test_depth_is_bounded() -> None:
    chain = [link(b"l", b"/" + b"/".join([b"d"] * 1000)), folder(b"l/" + b"/".join([b"d"] * 1000))]
    deeper = [link(b"m", b"/l/" + b"/".join([b"d"] * 1000)), folder(b"m/" + b"/".join([b"d"] * 1000))]
    assert MAX_DEPTH < 3000
    with pytest.raises(LimitExceeded, match="deep"):
        apply(*chain, *deeper)


def test_the_time_that_paths_take_is_bounded() -> None:
    tree = Tree(max_entries=100)
    winding = link(b"l", b"a/../" * 700)
    entries = [folder(b"l/%d/x" % index) for index in range(90)]
    with pytest.raises(LimitExceeded, match="too long to follow"):
        tree.apply(0, 0, [folder(b"a"), winding, *entries])


@pytest.mark.parametrize("target", [b"", b"t" * 4096])
def test_impossible_symlinks_are_refused(target: bytes) -> None:
    with pytest.raises(Unsupported, match="'l': a symlink's target"):
        apply(link(b"l", target))


def test_foreign_attributes_are_left_out_and_told() -> None:
    told: list[str] = []
    tree = Tree(warn=told.append)
    xattrs = {b"com.apple.quarantine": b"0", b"user.kept": b"1"}
    tree.apply(0, 0, [Entry(b"f", EntryKind.FILE, 0o644, xattrs=xattrs)])
    assert (tree.root.children or {})[b"f"].xattrs == {b"user.kept": b"1"}
    assert told == ["'f': extended attribute 'com.apple.quarantine' is in no namespace of Linux, left out"]


def test_a_replaced_symlink_leads_elsewhere_at_once() -> None:
    tree = apply(
        folder(b"one"), folder(b"two"), link(b"l", b"one"), file(b"l/a"), link(b"l", b"two"), file(b"l/b")
    )
    children = tree.root.children or {}
    assert set(children[b"one"].children or {}) == {b"a"}
    assert set(children[b"two"].children or {}) == {b"b"}


def test_the_work_can_be_stopped() -> None:
    class StopError(Exception):
        pass

    def stop() -> None:
        raise StopError

    with pytest.raises(StopError):
        Tree(check=stop).apply(0, 0, [file(b"a")])
