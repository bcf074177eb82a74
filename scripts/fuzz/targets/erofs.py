"""The EROFS writer: layers of any shape become a root that points nowhere but into them, and that the format's judges accept."""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from monocore_layer_erofs.build import Job, build
from monocore_layer_erofs.options import ErofsOptions
from monocore_layer_erofs.record import Record

from monocore_core.erofs import Limits, plan, render
from monocore_core.layertar import EntryKind
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_core.testing.erofs_reader import Image, Inode, join_vmdk
from monocore_core.testing.tarbuilder import END, header, member, padded, pax
from scripts.fuzz.target import Taken, Target, refusals
from scripts.fuzz.trees import seeds_of_trees, tree

_BLOCK: Final = 512
_NAMES: Final = (
    b"a",
    b"b",
    b"c",
    b"d",
    b"\xff\xfe",
    b"!",
    b"n" * 120,
    b"z" * 255,
    b"..",
    b".wh.a",
    b".wh.b",
    b".wh..wh..opq",
    b"y" * 200,
)
_USER, _CAPABILITY, _ACL, _OPAQUE = (
    (b"user.x", b"1"),
    (b"security.capability", bytes(20)),
    (b"system.posix_acl_access", bytes(44)),
    (b"trusted.overlay.opaque", b"y"),
)
#: What an entry may have beside, by a number of four bits.
_XATTRS: Final[tuple[tuple[tuple[bytes, bytes], ...], ...]] = (
    (),
    (_USER,),
    (_CAPABILITY,),
    (_ACL,),
    (_OPAQUE,),
    (_USER, _CAPABILITY),
    (_ACL, _CAPABILITY),
    (_USER, _ACL, _OPAQUE),
    ((b"user.long", b"v" * 3000),),
    ((b"user." + b"n" * 260, b"v"),),
    ((b"user.value", b"v" * 70_000),),
    tuple((b"user.%d" % number, b"v" * 60_000) for number in range(5)),
    ((b"com.apple.quarantine", b"v"), _USER),
    ((b"user.", b"v"),),
    ((b"system.other", b""),),
    ((b"system.posix_acl_default", b""),),
)


_OPTIONS: Final = (
    ErofsOptions(max_entries=500, max_metadata=1 << 20, max_spill=1 << 16),
    ErofsOptions(max_entries=6, max_metadata=1 << 20, max_spill=1 << 16),
    ErofsOptions(max_entries=500, max_metadata=2500, max_spill=1000),
)


def run(data: bytes) -> None:
    """A byte that says how tight the bounds are, and entries of up to four layers, each a few bytes; see :func:`_entry`.

    With its highest bit: a tree that no layers made; see :func:`~scripts.fuzz.trees.tree`.
    """
    taken = Taken(data)
    first = taken.byte()
    if first & 0x80:
        _made_by_hand(taken)
        return
    options = _OPTIONS[first % len(_OPTIONS)]
    with tempfile.TemporaryDirectory(dir=_folder(), prefix="monocore-fuzz-") as name:
        folder = Path(name)
        layers = [_store(folder, tar) for tar in _layers(taken)]
        work = folder / "work"
        work.mkdir()
        with refusals():
            made = build(Job(layers, work, work, options, _nothing, _go_on))
            _judge(made, layers)


def _made_by_hand(taken: Taken) -> None:
    """What a program that uses the writer may give it; a tree that is none is its error, and raises ValueError."""
    limits = taken.pick((Limits(), Limits(inodes=3), Limits(size=3000)))
    try:
        with refusals():
            end, name = taken.pick((0, 1 << 20, 1 << 33)), b"n" * taken.byte()
            layout = plan(tree(taken, _XATTRS), limits)
            starts = dict.fromkeys(layout.sources, layout.blocks)
            made = render(layout, starts, end=end, name=name)
            if not end:
                assert sum(1 for _ in _inodes(Image(bytes(made)))) == len(layout.nodes)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - not under pytest


@functools.cache
def _folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - memory, so that syncing costs nothing


def _nothing(text: str) -> None:
    del text


def _go_on() -> None:
    return


def _store(folder: Path, tar: bytes) -> Layer:
    digest = Digest.of(tar)
    path = folder / digest.hex
    path.write_bytes(tar)
    return Layer(digest, path, len(tar))


def _layers(taken: Taken) -> Iterator[bytes]:
    parts: list[bytes] = []
    ends = 0
    while taken.left and ends < 4:
        act = taken.byte()
        if act % 16 == 15:
            yield b"".join(parts) + END
            parts, ends = [], ends + 1
        else:
            parts.append(_entry(act, taken))
    if parts:
        yield b"".join(parts)  # a ragged end


def _path(taken: Taken) -> bytes:
    return b"/".join(taken.pick(_NAMES) for _ in range(1 + taken.byte() % 3))


def _entry(act: int, taken: Taken) -> bytes:
    """A member: its kind by the lower half of ``act``, extended attributes by the upper one."""
    kind, extra = act % 16, act >> 4
    path = _path(taken)
    before = b""
    if len(path) > 100:
        before += pax((b"path", path))
        path = path[:90]
    if extra:
        names = ((b"SCHILY.xattr." + name, value) for name, value in _XATTRS[extra])
        before += pax(*names, (b"mtime", b"-1.25"))
    return before + _member(kind, path, taken)


def _member(kind: int, path: bytes, taken: Taken) -> bytes:
    if kind < 5:
        found = member(path, bytes([taken.byte()]) * taken.number() if kind else b"")
    elif kind in (6, 7):
        target = taken.pick((_path(taken), b"/" + _path(taken), b"t" * 100, b"."))[:100]
        found = header(path, b"2" if kind == 6 else b"1", link=target)
    elif kind in (8, 9):
        found = header(path, b"34"[kind - 8 : kind - 7], device=(taken.byte(), taken.number()))
    elif kind == 10:
        found = header(path, b"6")
    elif kind == 11:
        found = _sparse(path, taken)
    elif kind == 12:
        found = pax((b"linkpath", b"/t" * (taken.number() % 2500))) + header(path, b"2")
    elif kind == 13:  # the root itself
        found = header(b".", b"5" if taken.byte() & 1 else b"0")
    else:
        found = header(path, b"5", mode=taken.number(), uid=taken.number(), gid=taken.number())
    return found


def _sparse(path: bytes, taken: Taken) -> bytes:
    """PAX sparse 1.0, with pieces that need not begin at whole blocks."""
    pieces: list[tuple[int, int]] = []
    at = 0
    for _ in range(taken.byte() % 5):
        at += taken.number()
        length = taken.number() % 3000
        pieces.append((at, length))
        at += length
    size = at + taken.number()
    table = b"".join(b"%d\n" % n for n in (len(pieces), *(n for piece in pieces for n in piece)))
    head = pax(
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"%d" % size)
    )
    return head + member(path[:90], padded(table) + b"s" * sum(length for _, length in pieces))


def _judge(made: Record, layers: Sequence[Layer]) -> None:
    disk = join_vmdk(made.files[0].path)
    image = Image(disk)
    image.tree()
    first = made.files[1].size
    edges, at = [first], first
    for piece in made.files[2:]:
        at += piece.size - piece.size % _BLOCK
        edges.append(at)
    for inode in _inodes(image):
        if inode.kind is EntryKind.FILE:
            for begin, end in _extents(image, inode):
                inside = any(low <= begin and end <= high for low, high in pairwise(edges))
                assert inside, f"inode {inode.nid}: bytes {begin} to {end} are of no single layer ({edges})"
    if (program := _fsck()) is not None:
        metadata = made.files[1].path
        result = subprocess.run(
            [program, str(_joined(metadata, disk))], check=False, capture_output=True, text=True, timeout=30
        )
        assert result.returncode == 0, result.stderr
    assert len(layers) <= 4


def _joined(beside: Path, disk: bytes) -> Path:
    raw = beside.with_name("raw")
    raw.write_bytes(disk)
    return raw


def _inodes(image: Image) -> Iterator[Inode]:
    waiting, seen = [image.root], {image.root}
    while waiting:
        inode = image.inode(waiting.pop())
        yield inode
        if inode.kind is EntryKind.DIRECTORY:
            fresh = set(image.entries(inode).values()) - seen
            seen |= fresh
            waiting += fresh


def _extents(image: Image, inode: Inode) -> Iterator[tuple[int, int]]:
    """Where a file's bytes stand on the disk."""
    if inode.layout == 0 and inode.size:
        yield inode.union * _BLOCK, inode.union * _BLOCK + inode.size
    if inode.layout == 4:
        chunk = _BLOCK << (inode.union & 0x1F)
        at = inode.tail + -inode.tail % 4
        for index in range(-(-inode.size // chunk)):
            (address,) = struct.unpack_from("<I", image.disk, at + 4 * index)
            if address != 0xFFFFFFFF:
                yield address * _BLOCK, address * _BLOCK + min(chunk, inode.size - index * chunk)


@functools.cache
def _fsck() -> str | None:
    """``fsck.erofs`` where it knows blocks of 512 bytes, as from erofs-utils 1.6 on; else our own reader is the judge."""
    program = shutil.which("fsck.erofs")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="monocore-fuzz-") as name:
        layer = _store(Path(name), member(b"a", b"x") + END)
        work = Path(name, "work")
        work.mkdir()
        made = build(Job([layer], work, work, ErofsOptions(), _nothing, _go_on))
        raw = _joined(made.files[1].path, join_vmdk(made.files[0].path))
        result = subprocess.run([program, str(raw)], check=False, capture_output=True, timeout=30)
    return program if result.returncode == 0 else None


def seeds() -> Iterator[bytes]:
    """Each kind of entry, over one another, within wide bounds and tight ones."""
    for bound in range(len(_OPTIONS)):
        yield from (bytes([bound]) + entries for entries in _shapes())
    yield from seeds_of_trees(len(_XATTRS))


def _shapes() -> Iterator[bytes]:
    one, two = bytes([0, 0]), bytes([1, 0, 1])  # paths: a, a/b
    file, folder = bytes([1]) + one + b"x\x05\x00", bytes([5]) + one + b"\xed\x01\0\0\0\0"
    yield b""
    yield file
    yield bytes([0]) + one
    yield folder + bytes([1]) + two + b"y\x00\x08" + b"\x0f" + file
    yield (
        folder
        + bytes([6])
        + two
        + bytes([0, 0, 1])
        + b"\x0f"
        + bytes([7])
        + bytes([0, 2])
        + bytes([0, 1, 0, 1])
    )
    yield (
        bytes([8]) + one + b"\1\3\0" + bytes([9]) + bytes([0, 1]) + b"\x08\1\0" + bytes([10]) + bytes([0, 2])
    )
    yield bytes([11]) + one + b"\2\x07\0\x64\0\0\x10\xff\0\x05\0"
    yield bytes([11]) + one + b"\3\0\x02\0\2\0\x02\0\2\0\x02\0\4\0\0"
    yield bytes([0xF1]) + one + b"x\x05\x00" + bytes([0x85]) + bytes([0, 1]) + b"\xed\x01\xff\xff\xff\xff"
    for mark in (9, 10, 11):
        yield folder + bytes([1]) + two + b"y\x09\0\x0f" + bytes([1, 1, 0, mark]) + b"x\0\0\x0f"
    for name in (4, 6, 7, 8):
        yield bytes([5, 0, name]) + b"\xed\x01\0\0\0\0" + bytes([1, 1, name, 0]) + b"z\xff\xff"
    yield b"".join(bytes([1, 0, name]) + b"x\x01\x02" for name in (*range(8), 12))
    yield from _ways(folder)
    for extra in range(1, len(_XATTRS)):
        yield bytes([extra << 4 | 1]) + one + b"x\x05\x00"
    for length in (0, 100, 240, 300, 2200):  # of symlinks' targets, in twos
        yield bytes([12]) + one + struct.pack("<H", length)
    yield bytes([13, 0, 0, 1]) + file
    yield bytes([13, 0, 0, 0]) + file


def _ways(folder: bytes) -> Iterator[bytes]:
    """Files behind symlinks: absolute ones, ones that lead up, around, and nowhere."""
    a, b, up, end = 0, 1, 8, 0

    def link(name: int, *target: int, absolute: bool = False) -> bytes:
        way = bytes([len(target) - 1, *target])
        return bytes([6, 0, name]) + way + way + bytes([1 if absolute else 0])

    behind = bytes([1, 1, b, a]) + b"x\x05\x00"
    for made in (link(b, a, absolute=True), link(b, a), link(b, up, a), link(b, b), link(b, a, up, a)):
        yield folder + made + behind + b"\x0f" + behind
        yield folder + made + bytes([7, 0, 2, 1, b, a, 1, b, a, end]) + behind
    yield folder + link(b, a, up) + link(2, b, a) + bytes([1, 1, 2, 3]) + b"x\x05\x00"
    yield bytes([1, 0, a]) + b"x\x05\x00" + bytes([1, 1, a, b]) + b"x\x05\x00"


TARGET = Target(
    "erofs",
    "the writer of merged roots",
    run,
    seeds,
    (
        "monocore_core.erofs.image",
        "monocore_core.erofs.layout",
        "monocore_core.erofs.node",
        "monocore_core.erofs.xattr",
        "monocore_core.layertree.tree",
        "monocore_layer_erofs.build",
        "monocore_layer_erofs.sparse",
    ),
    aside=("self_contained", "regular", "directory"),
    longest=6000,
)
