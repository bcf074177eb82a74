"""Layers for tests: hypothesis strategies that make stacks of them, and the tars that hold them.

The names are few, so that layers collide: types change, folders are replaced by symlinks and the other way round, hard links
cross layers, whiteouts stand before and after what they seem to name.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import evolve
from hypothesis import strategies as st

from monocore_core.errors import Corrupt
from monocore_core.layertar import EntryKind, Opaque, Whiteout
from monocore_core.model.digest import Digest
from monocore_core.model.image import Layer
from monocore_core.testing.layer_model import LayerMember, Member, Model

Stack = tuple[tuple[LayerMember, ...], ...]

#: Few, so that they collide; some that text would stumble over.
NAMES = (
    b"a",
    b"b",
    b"c",
    b"d",
    b"\xff\xfe",
    "Ω é".encode(),
    b"!",
    b"-x",
    b'q"\n\\',
    b"n" * 120,
    b"..x",
    b"z" * 255,
)
_COMMON = NAMES[:4]
_TYPES = {
    EntryKind.FILE: tarfile.REGTYPE,
    EntryKind.DIRECTORY: tarfile.DIRTYPE,
    EntryKind.SYMLINK: tarfile.SYMTYPE,
    EntryKind.HARDLINK: tarfile.LNKTYPE,
    EntryKind.CHARACTER: tarfile.CHRTYPE,
    EntryKind.BLOCK: tarfile.BLKTYPE,
    EntryKind.FIFO: tarfile.FIFOTYPE,
}
_CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
_ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 10000600ffffffff 20000400ffffffff"
)


def paths() -> st.SearchStrategy[bytes]:
    """Cleaned paths of one to three parts."""
    name = st.one_of(st.sampled_from(_COMMON), st.sampled_from(_COMMON), st.sampled_from(NAMES))
    return st.lists(name, min_size=1, max_size=3).map(b"/".join)


def targets() -> st.SearchStrategy[bytes]:
    """Of symlinks: relative, absolute, climbing, dangling, to themselves."""
    part = st.one_of(st.sampled_from(_COMMON), st.sampled_from((b"..", b".", b"..", b"")))
    relative = st.lists(part, min_size=1, max_size=4).map(b"/".join).filter(bool)
    return st.one_of(relative, relative.map(lambda path: b"/" + path), st.just(b"./" * 300 + b"a"))


def xattrs(*, user: bool = True) -> st.SearchStrategy[Mapping[bytes, bytes]]:
    """Mostly none; trusted and security attributes, an ACL, one that Linux does not know, and with ``user`` a user's.

    Linux shows a user's attributes of files and folders only (xattr(7)).
    """
    known: dict[bytes, st.SearchStrategy[bytes]] = {
        b"trusted.t": st.binary(min_size=1, max_size=600),
        b"security.capability": st.just(_CAPABILITY),
        b"system.posix_acl_access": st.just(_ACL),
        b"com.apple.quarantine": st.just(b"0"),
    }
    if user:
        known[b"user.mime"] = st.binary(min_size=1, max_size=40)
    none: st.SearchStrategy[Mapping[bytes, bytes]] = st.builds(dict[bytes, bytes])
    some: st.SearchStrategy[Mapping[bytes, bytes]] = st.fixed_dictionaries({}, optional=known)
    return st.one_of(none, none, some)


def members() -> st.SearchStrategy[Member]:
    """Entries but hard links."""
    times = st.one_of(st.just(0), st.integers(-(10**18), 4 * 10**18))
    ids = st.sampled_from((0, 1000, 65534, 70_000, 4_000_000_000))
    contents = st.one_of(st.binary(max_size=20), st.integers(500, 1600).map(lambda size: b"x" * size))

    def made(
        kind: EntryKind, content: st.SearchStrategy[bytes], link: st.SearchStrategy[bytes]
    ) -> st.SearchStrategy[Member]:
        device = (
            st.tuples(st.integers(0, 4095), st.integers(0, 0xFFFFF))
            if kind in {EntryKind.CHARACTER, EntryKind.BLOCK}
            else st.just((0, 0))
        )
        return st.builds(
            Member,
            path=paths(),
            kind=st.just(kind),
            mode=st.integers(0, 0o7777),
            uid=ids,
            gid=ids,
            mtime_ns=times,
            content=content,
            link=link,
            device=device,
            xattrs=xattrs(user=kind in {EntryKind.FILE, EntryKind.DIRECTORY})
            if kind is not EntryKind.SYMLINK
            else st.builds(dict[bytes, bytes]),
        )

    nothing = st.just(b"")
    folder = made(EntryKind.DIRECTORY, nothing, nothing)
    return st.one_of(
        made(EntryKind.FILE, contents, nothing),
        folder,
        folder,
        made(EntryKind.SYMLINK, nothing, targets()),
        st.sampled_from((EntryKind.CHARACTER, EntryKind.BLOCK, EntryKind.FIFO)).flatmap(
            lambda kind: made(kind, nothing, nothing)
        ),
        folder.map(lambda member: evolve(member, path=b"")),
    )


@st.composite
def stacks(
    draw: st.DrawFn,
    *,
    valid: bool = True,
    layers: int = 4,
    size: int = 10,
) -> Stack:
    """Stacks of up to ``layers`` layers with up to ``size`` members each.

    Args:
        draw: hypothesis's.
        valid: leave out entries that the model refuses; otherwise a stack may have some.
        layers: at most so many.
        size: at most so many members of a layer.
    """
    model = Model()
    stack: list[tuple[LayerMember, ...]] = []
    known: list[bytes] = [b"a"]
    for _ in range(draw(st.integers(1, layers))):
        layer: list[LayerMember] = []
        for _ in range(draw(st.integers(0, size))):
            member = _member(draw, known)
            layer.append(member)
            if isinstance(member, Member):
                known.append(member.path)
        if valid:
            layer = _accepted(model, layer)
        stack.append(tuple(layer))
    return tuple(stack)


def _member(draw: st.DrawFn, known: Sequence[bytes]) -> LayerMember:
    any_path = st.one_of(st.sampled_from(known), paths())
    choice = draw(st.integers(0, 9))
    if choice == 0:
        strategy: st.SearchStrategy[LayerMember] = any_path.filter(_whitable).map(Whiteout)
    elif choice == 1:
        strategy = st.one_of(any_path, any_path, st.just(b"")).map(Opaque)
    elif choice in {2, 3}:
        strategy = st.builds(
            Member, path=paths(), kind=st.just(EntryKind.HARDLINK), link=any_path.filter(bool)
        )
    else:
        strategy = members()
    return draw(strategy)


def _whitable(path: bytes) -> bool:
    """Whether a whiteout can name the path: ``.wh.`` and the name are a name, too."""
    return 0 < len(path.rpartition(b"/")[2]) <= 251


def _accepted(model: Model, layer: Sequence[LayerMember]) -> list[LayerMember]:
    """The layer without what the model refuses; ``model`` goes on with it."""
    kept: list[LayerMember] = []
    for member in layer:
        try:
            model.copy().apply([*kept, member])
        except Corrupt:
            continue
        kept.append(member)
    model.apply(kept)
    return kept


def tar_of(layer: Iterable[LayerMember], *, prefix: str = "") -> bytes:
    """The layer as an uncompressed PAX tar, by the standard library; ``prefix`` goes before names (``./``)."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for member in layer:
            content = member.content if isinstance(member, Member) else b""
            tar.addfile(_header(member, prefix), io.BytesIO(content))
    return buffer.getvalue()


def layer_file(folder: Path, tar: bytes) -> Layer:
    """A tar as the store holds it: a file in ``folder`` by its digest."""
    digest = Digest.of(tar)
    path = folder / digest.hex
    path.write_bytes(tar)
    return Layer(digest, path, len(tar))


def _header(member: LayerMember, prefix: str) -> tarfile.TarInfo:
    if isinstance(member, Opaque):
        return tarfile.TarInfo(prefix + _text(member.path + b"/" * bool(member.path) + b".wh..wh..opq"))
    head, slash, name = member.path.rpartition(b"/")
    if isinstance(member, Whiteout):
        return tarfile.TarInfo(prefix + _text(head + slash + b".wh." + name))
    info = tarfile.TarInfo(prefix + _text(member.path) or "./")
    info.type = _TYPES[member.kind]
    info.mode, info.uid, info.gid = member.mode, member.uid, member.gid
    info.size = len(member.content)
    info.linkname = _text(member.link)
    info.devmajor, info.devminor = member.device
    pax: dict[str, str] = {}
    if member.mtime_ns:
        sign, rest = "-" * (member.mtime_ns < 0), abs(member.mtime_ns)
        pax["mtime"] = f"{sign}{rest // 10**9}.{rest % 10**9:09}"
    for key, value in member.xattrs.items():
        pax[f"SCHILY.xattr.{_text(key)}"] = _text(value)
    info.pax_headers = pax
    return info


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
