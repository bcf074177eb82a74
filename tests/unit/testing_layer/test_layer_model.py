"""The model says what the image specification says: its examples, and the corners that the model settles."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings

from monocore_core.errors import Corrupt
from monocore_core.layertar import EntryKind, Opaque, Whiteout
from monocore_core.testing.layer_model import Found, LayerMember, Member, apply_layers
from monocore_core.testing.layers import Stack, stacks, tar_of


def file(path: bytes, content: bytes = b"x") -> Member:
    return Member(path, EntryKind.FILE, content=content)


def folder(path: bytes, mode: int = 0o700) -> Member:
    return Member(path, EntryKind.DIRECTORY, mode=mode)


def link(path: bytes, target: bytes) -> Member:
    return Member(path, EntryKind.SYMLINK, link=target)


def hard(path: bytes, target: bytes) -> Member:
    return Member(path, EntryKind.HARDLINK, link=target)


def contents(tree: dict[bytes, Found]) -> dict[bytes, bytes]:
    return {path: found.content for path, found in tree.items() if found.kind is EntryKind.FILE}


def merged(*layers: list[LayerMember]) -> dict[bytes, bytes]:
    return contents(apply_layers(layers))


BASE: list[LayerMember] = [file(b"a/b/c/bar"), file(b"a/b/foo"), folder(b"a/b/c"), file(b"e")]


def test_the_specifications_whiteout_example() -> None:
    # image-spec layer.md, "Whiteouts" and "Opaque Whiteout"
    assert merged(BASE, [Whiteout(b"a/b/c")]) == {b"a/b/foo": b"x", b"e": b"x"}
    opaque: list[LayerMember] = [Opaque(b"a/b"), file(b"a/b/c/new", b"2")]
    assert merged(BASE, opaque) == {b"a/b/c/new": b"2", b"e": b"x"}
    assert merged(BASE, opaque[::-1]) == {b"a/b/c/new": b"2", b"e": b"x"}


def test_a_whiteout_never_touches_its_own_layer() -> None:
    assert merged(BASE, [file(b"e", b"new"), Whiteout(b"e")])[b"e"] == b"new"
    assert merged([file(b"e"), Whiteout(b"e"), Opaque(b"")]) == {b"e": b"x"}


def test_missing_whiteouts_say_nothing() -> None:
    assert merged(BASE, [Whiteout(b"no/such"), Whiteout(b"e/below"), Opaque(b"no")]) == merged(BASE)


def test_folders_merge_and_other_types_replace() -> None:
    tree = apply_layers(
        [[folder(b"d", 0o755), file(b"d/x")], [folder(b"d", 0o711)], [file(b"d2"), folder(b"d2")]]
    )
    assert tree[b"d"].mode == 0o711
    assert b"d/x" in tree
    assert tree[b"d2"].kind is EntryKind.DIRECTORY
    assert merged(BASE, [file(b"a", b"now a file")]) == {b"a": b"now a file", b"e": b"x"}


def test_parents_are_resolved_inside_the_root() -> None:
    lower: list[LayerMember] = [folder(b"usr/lib"), link(b"lib", b"usr/lib"), link(b"up", b"../../../usr")]
    assert merged(lower, [file(b"lib/x")]) == {b"usr/lib/x": b"x"}
    assert merged(lower, [file(b"up/lib/x")]) == {b"usr/lib/x": b"x"}
    assert merged([link(b"l", b"/gone/away"), file(b"l/x")]) == {b"gone/away/x": b"x"}
    assert merged(lower, [folder(b"lib"), file(b"lib/x")]) == {b"lib/x": b"x"}


def test_a_whiteout_does_not_reach_through_a_symlink_that_its_layer_replaces() -> None:
    lower: list[LayerMember] = [file(b"usr/lib/x"), link(b"lib", b"usr/lib")]
    assert merged(lower, [Whiteout(b"lib/x")]) == {}
    assert merged(lower, [folder(b"lib"), Whiteout(b"lib/x")]) == {b"usr/lib/x": b"x"}
    assert merged(lower, [Opaque(b"lib"), folder(b"lib")]) == {b"usr/lib/x": b"x"}


def test_hard_links_cross_layers_and_survive_their_target() -> None:
    tree = apply_layers([[file(b"t", b"data")], [hard(b"h", b"t")], [Whiteout(b"t"), hard(b"i", b"h")]])
    assert tree[b"h"].links == tree[b"i"].links == {b"h", b"i"}
    assert tree[b"h"].content == b"data"
    assert merged([file(b"t"), hard(b"t", b"t")]) == {b"t": b"x"}


@pytest.mark.parametrize(
    "layer",
    [
        [hard(b"h", b"missing")],
        [folder(b"d"), hard(b"h", b"d")],
        [file(b"f"), file(b"f/below")],
        [link(b"l", b"l"), file(b"l/x")],
        [file(b"")],
    ],
)
def test_what_makes_no_sense_is_refused(layer: list[LayerMember]) -> None:
    with pytest.raises(Corrupt):
        apply_layers([layer])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks())
def test_generated_stacks_are_accepted_and_trees_are_whole(stack: Stack) -> None:
    tree = apply_layers(stack)
    for path, found in tree.items():
        assert path in found.links
        assert tree[path.rpartition(b"/")[0]].kind is EntryKind.DIRECTORY
        assert all(tree[other] == found for other in found.links)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stacks(layers=1))
def test_tars_hold_what_the_members_say(stack: Stack) -> None:
    for layer in stack:
        with tarfile.open(fileobj=io.BytesIO(tar_of(layer)), errors="surrogateescape") as tar:
            members = tar.getmembers()
        assert len(members) == len(layer)
        for info, member in zip(members, layer, strict=True):
            if isinstance(member, Member):
                assert info.name.encode("utf-8", "surrogateescape") == (member.path or b".")
                assert (info.uid, info.size, info.mode) == (member.uid, len(member.content), member.mode)
            else:
                assert ".wh." in info.name
