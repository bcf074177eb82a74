"""The EROFS writer against an independent reader."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.erofs import (
    BLOCK,
    NAME_MAX,
    TARGET_MAX,
    Chunks,
    Limits,
    Node,
    block,
    character,
    directory,
    fifo,
    plan,
    regular,
    render,
    self_contained,
    symlink,
)
from monocore_core.erofs.crc32c import crc32c
from monocore_core.errors import LimitExceeded, Unsupported
from monocore_core.layertar import EntryKind
from monocore_core.testing.erofs_reader import Image
from monocore_core.testing.layer_model import Found


def read(root: Node) -> dict[bytes, Found]:
    return Image(self_contained(root)).tree()


def one(node: Node) -> Found:
    """``node`` as it is read back, as the only file of an image."""
    return read(directory({b"it": node}))[b"it"]


def test_an_image_holds_every_type() -> None:
    root = directory(
        {
            b"init": regular(b"\x7fELF" * 30_000, mode=0o755),
            b"empty": regular(b""),
            b"dev": directory({b"console": character(5, 1), b"sda": block(8, 70_000), b"pipe": fifo()}),
            b"link": symlink(b"init"),
        }
    )
    tree = read(root)
    assert {path: found.kind for path, found in tree.items()} == {
        b"": EntryKind.DIRECTORY,
        b"init": EntryKind.FILE,
        b"empty": EntryKind.FILE,
        b"dev": EntryKind.DIRECTORY,
        b"dev/console": EntryKind.CHARACTER,
        b"dev/sda": EntryKind.BLOCK,
        b"dev/pipe": EntryKind.FIFO,
        b"link": EntryKind.SYMLINK,
    }
    assert tree[b"init"].content == b"\x7fELF" * 30_000
    assert tree[b"init"].mode == 0o755
    assert tree[b"dev/sda"].device == (8, 70_000)
    assert tree[b"link"].target == b"init"


@given(
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**63), 2**63),
)
def test_attributes_come_back(mode: int, uid: int, gid: int, mtime_ns: int) -> None:
    found = one(Node(stat.S_IFREG | mode, uid, gid, mtime_ns))
    assert (found.mode, found.uid, found.gid, found.mtime_ns) == (mode, uid, gid, mtime_ns)


@given(
    st.sets(
        st.binary(min_size=1, max_size=255).filter(lambda n: b"/" not in n and b"\0" not in n), max_size=40
    )
)
def test_any_names_are_found_sorted(names: set[bytes]) -> None:
    names -= {b".", b".."}
    tree = read(directory({name: regular(name) for name in names}))
    assert {path: found.content for path, found in tree.items() if path} == {name: name for name in names}


@pytest.mark.parametrize("size", [1, 447, 448, 449, 511, 512, 513, 1024, TARGET_MAX])
@pytest.mark.parametrize("before", [0, 1, 7])
def test_symlinks_of_every_length_come_back(size: int, before: int) -> None:
    children = {b"%d" % index: regular(b"") for index in range(before)}
    target = bytes(index % 25 + 97 for index in range(size))
    assert read(directory({**children, b"z": symlink(target)}))[b"z"].target == target


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_001])
def test_content_comes_back(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    assert one(regular(content[:size])).content == content[:size]


def test_a_hundred_thousand_entries_in_one_folder() -> None:
    names = [b"%06d" % index for index in range(100_000)]
    image = Image(self_contained(directory({b"many": directory(dict.fromkeys(names, regular(b"x")))})))
    root = image.entries(image.inode(image.root))
    many = image.inode(root[b"many"])
    entries = image.entries(many)
    assert list(entries) == [b".", b"..", *names]
    assert image.inode(entries[b"000007"]).links == 100_000


def test_hard_links_share_an_inode() -> None:
    node = regular(b"shared")
    root = directory({b"a": node, b"d": directory({b"b": node})})
    tree = read(root)
    assert tree[b"a"].links == tree[b"d/b"].links == {b"a", b"d/b"}


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=200).map(lambda rest: b"user." + rest),
        st.binary(max_size=700),
        max_size=6,
    ),
    st.integers(0, 7),
)
def test_xattrs_come_back_wherever_they_stand(xattrs: dict[bytes, bytes], before: int) -> None:
    children = {b"%d" % index: regular(b"") for index in range(before)}
    link = symlink(b"t" * 300)
    node = regular(b"content")
    node.xattrs = link.xattrs = xattrs
    tree = read(directory({**children, b"x": node, b"y": link, b"z": regular(b"after")}))
    assert tree[b"x"].xattrs == tree[b"y"].xattrs == xattrs
    assert tree[b"y"].target == b"t" * 300
    assert tree[b"x"].content == b"content"


@pytest.mark.parametrize(
    "name",
    [
        b"user.mime_type",
        b"trusted.overlay.opaque",
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ],
)
def test_every_namespace_of_linux(name: bytes) -> None:
    node = directory()
    node.xattrs = {name: b"\0value"}
    assert one(node).xattrs == {name: b"\0value"}


def test_metadata_refers_to_data_that_follows() -> None:
    root = directory(
        {
            b"plain": Node(stat.S_IFREG | 0o644, size=700, source=0, block=1),
            b"other": Node(stat.S_IFREG | 0o644, size=3, source=7, block=0),
            b"holes": Node(
                stat.S_IFREG | 0o644,
                size=5 * BLOCK - 9,
                source=0,
                chunks=Chunks(0, ((0, 2), None, (7, 0), None, (0, 0))),
            ),
        }
    )
    layout = plan(root)
    assert layout.sources == {0, 7}
    start = layout.blocks
    first = bytes([1]) * BLOCK + bytes([2]) * BLOCK + bytes([3]) * BLOCK
    second = bytes([9]) * BLOCK
    metadata = render(layout, {0: start, 7: start + 3}, end=start + 4, uuid=b"u" * 16, name=b"test")
    image = Image(bytes(metadata) + first + second)
    tree = image.tree()
    assert tree[b"plain"].content == (bytes([2]) * BLOCK + bytes([3]) * BLOCK)[:700]
    assert tree[b"other"].content == bytes([9]) * 3
    hole = bytes(BLOCK)
    expected = bytes([3]) * BLOCK + hole + second + hole + bytes([1]) * BLOCK
    assert tree[b"holes"].content == expected[: 5 * BLOCK - 9]
    assert (image.uuid, image.name) == (b"u" * 16, b"test")
    assert image.blocks == start + 4


def test_chunks_may_be_larger_than_a_file_and_files_than_four_gib() -> None:
    size = (5 << 30) + 1
    bits = 21  # of 1 GiB
    node = Node(stat.S_IFREG | 0o600, size=size, source=0, chunks=Chunks(bits, (None,) * 5 + ((0, 0),)))
    layout = plan(directory({b"big": node}))
    metadata = render(layout, {0: layout.blocks}, end=layout.blocks + 1)
    image = Image(bytes(metadata) + b"!" + bytes(511))
    inode = image.inode(image.entries(image.inode(image.root))[b"big"])
    assert (inode.size, inode.union) == (size, bits)


def test_the_same_tree_gives_the_same_bytes_whatever_the_order() -> None:
    children = {b"b": regular(b"1"), b"a": directory({b"x": symlink(b"y")}), b"c": fifo()}
    other = {b"c": fifo(), b"a": directory({b"x": symlink(b"y")}), b"b": regular(b"1")}
    assert self_contained(directory(children)) == self_contained(directory(other))
    assert Image(self_contained(directory(children))).uuid != Image(self_contained(directory())).uuid


def test_the_superblock_is_sealed() -> None:
    image = self_contained(directory({b"a": regular(b"1")}), name=b"monocore-boot")
    sealed = image[1024:1028] + bytes(4) + image[1032:1536]
    assert Image(image).checksum == crc32c(sealed)
    assert Image(image).name == b"monocore-boot"


def test_crc32c_has_its_published_check_value() -> None:
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (symlink(b""), "target of 0 bytes"),
        (symlink(b"t" * (TARGET_MAX + 1)), "target of 4096 bytes"),
        (character(4096, 0), "device 4096:0"),
        (block(0, 1 << 20), "device 0:1048576"),
        (Node(stat.S_IFREG, uid=1 << 32), "owner 4294967296:0"),
        (Node(stat.S_IFREG, size=1 << 63, source=0), "size 9223372036854775808"),
        (Node(stat.S_IFREG, xattrs={b"com.apple.x": b""}), "namespace"),
    ],
)
def test_what_linux_cannot_hold_is_refused_by_path(node: Node, words: str) -> None:
    with pytest.raises(Unsupported, match=words) as raised:
        plan(directory({b"d": directory({b"n": node})}))
    assert "'/d/n'" in raised.value.brief


def test_long_names_are_refused_by_path() -> None:
    with pytest.raises(Unsupported, match="longer than 255"):
        plan(directory({b"n" * (NAME_MAX + 1): fifo()}))


def test_bounds_hold() -> None:
    crowd = directory({b"%d" % index: fifo() for index in range(100)})
    with pytest.raises(LimitExceeded, match="more than 50 files"):
        plan(crowd, Limits(inodes=50))
    with pytest.raises(LimitExceeded, match="more than 8192 bytes"):
        plan(directory({b"a": regular(bytes(9000))}), Limits(size=8192))
    with pytest.raises(LimitExceeded, match="too long"):
        plan(directory({b"a": Node(stat.S_IFREG, xattrs={b"user.x": bytes(1 << 16)})}))
    with pytest.raises(LimitExceeded, match="EROFS reaches"):
        render(plan(directory()), {}, end=1 << 32)


def test_deep_trees_do_not_recurse() -> None:
    root = directory()
    here = root
    for _ in range(5000):
        child = directory()
        assert here.children is not None
        here.children[b"d"] = child
        here = child
    assert Image(self_contained(root)).inodes == 5001


def test_misuse_is_told() -> None:
    root = directory({b"x": Node(stat.S_IFREG, size=1, source=0)})
    with pytest.raises(ValueError, match="no external data"):
        self_contained(root)
    with pytest.raises(ValueError, match="laid out once"):
        plan(root)
    with pytest.raises(ValueError, match="do not cover"):
        plan(directory({b"x": Node(stat.S_IFREG, size=9, source=0, chunks=Chunks(0, ()))}))
