"""What applying layers means, as a slow model that is easy to believe: the oracle for every layer merger.

The model is a table from real paths to inodes. It follows the OCI image specification (layer.md, "Applying Changesets")
and settles what that leaves open:

1.  Whiteouts and opaque markers of a layer act on the tree as it was before the layer, wherever they stand in the tar.
    All of them are looked up in that tree first, then what they name goes away, with everything below it.
    One whose path does not exist says nothing.
2.  Then the layer's entries are made in the tar's order; a later one replaces an earlier one, or a lower layer's.
    A folder over a folder keeps the children and takes the new metadata; in every other case the old file, or the whole
    old folder, goes away.
3.  A path is looked up inside the root: symlinks on the way are followed, absolute ones and ``..`` never lead above the root,
    and at most 40 of them. The last part is never followed. Folders that are missing on the way are made, root's, 0755, of
    time 0. A file on the way is an error.
4.  A removal's path does not go through a symlink that the same layer makes a folder: there it names nothing.
5.  A hard link names a file as it is at that point of the tar, of this or a lower layer, by rule 3; to nothing or to a
    folder it is an error. To itself it changes nothing.
6.  The mode of a symlink is 0777. Extended attributes outside Linux's namespaces are left out.

A merger is right when :func:`apply_layers` and it agree, on the tree or on the refusal (:class:`Corrupt`).
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from monocore_core.errors import Corrupt
from monocore_core.layertar import EntryKind, Opaque, Whiteout

MAX_HOPS = 40
_NAMESPACES = (b"user.", b"trusted.", b"security.", b"system.posix_acl_access", b"system.posix_acl_default")


@frozen
class Member:
    """An entry of a layer, with its content. ``path`` is cleaned; ``b""`` is the root.

    ``link`` is a symlink's target verbatim, or the cleaned path that a hard link names.
    """

    path: bytes
    kind: EntryKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    content: bytes = b""
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(factory=dict[bytes, bytes])


LayerMember = Member | Whiteout | Opaque


@frozen
class Found:
    """A file of the merged tree. ``links`` are all its paths (its own alone for a folder)."""

    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes
    target: bytes
    device: tuple[int, int]
    xattrs: Mapping[bytes, bytes]
    links: frozenset[bytes]


def apply_layers(layers: Iterable[Sequence[LayerMember]]) -> dict[bytes, Found]:
    """The merged tree of ``layers``, lowest first: every path, ``b""`` for the root.

    Raises:
        Corrupt: the layers ask for what rules 3 and 5 forbid.
    """
    model = Model()
    for layer in layers:
        model.apply(layer)
    return model.tree()


class Model:
    """The tree so far: ``paths`` to inode numbers, ``inodes`` by number."""

    def __init__(self) -> None:
        self.paths: dict[bytes, int] = {}
        self.inodes: dict[int, Member] = {}
        self._numbers = itertools.count()
        self._put(b"", _folder())

    def copy(self) -> Model:
        """Another one like it."""
        other = Model()
        other.paths = dict(self.paths)
        other.inodes = dict(self.inodes)
        other._numbers = itertools.count(max(self.inodes) + 1)
        return other

    def apply(self, layer: Sequence[LayerMember]) -> None:
        """Put a layer on top."""
        self.remove(layer)
        for member in layer:
            if isinstance(member, Member):
                self.add(member)

    def remove(self, layer: Sequence[LayerMember]) -> None:
        """Rule 1: everything that the layer's whiteouts and opaque markers name."""
        owned = {
            member.path
            for member in layer
            if isinstance(member, Member) and member.kind is EntryKind.DIRECTORY
        }
        doomed: set[bytes] = set()
        for removal in layer:
            if isinstance(removal, Opaque):
                folder = self.real(removal.path, owned=owned)
                if folder is not None:
                    doomed |= self._below(folder)
            elif isinstance(removal, Whiteout):
                head, _, name = removal.path.rpartition(b"/")
                folder = self.real(head, owned=owned)
                if folder is not None:
                    path = _join(folder, name)
                    doomed |= {path} | self._below(path)
        for path in doomed:
            self.paths.pop(path, None)

    def add(self, member: Member) -> None:
        """Rules 2, 3 and 5: one entry."""
        if not member.path:
            if member.kind is not EntryKind.DIRECTORY:
                raise Corrupt("the root is not a folder")
            self.inodes[self.paths[b""]] = _kept(member)
            return
        head, _, name = member.path.rpartition(b"/")
        folder = self.real(head, create=True)
        assert folder is not None, "it was made"
        path = _join(folder, name)
        old = self._at(path)
        if member.kind is EntryKind.HARDLINK:
            number = self._named(member.link)
            if self.paths.get(path) != number:
                self._clear(path)
                self.paths[path] = number
        elif member.kind is EntryKind.DIRECTORY and old is not None and old.kind is EntryKind.DIRECTORY:
            self.inodes[self.paths[path]] = _kept(member)
        else:
            self._clear(path)
            self._put(path, _kept(member))

    def real(self, path: bytes, *, create: bool = False, owned: Container[bytes] = ()) -> bytes | None:
        """Rule 3: the real path of the folder that ``path`` leads to; None when there is none and nothing is made."""
        here, hops = b"", 0
        todo = path.split(b"/")
        while todo:
            name, todo = todo[0], todo[1:]
            if name == b"..":
                here = here.rpartition(b"/")[0]
            elif name not in {b"", b"."}:
                step = _join(here, name)
                found = self._at(step)
                if found is None and create:
                    found = _folder()
                    self._put(step, found)
                if found is None:
                    return None
                if found.kind is EntryKind.SYMLINK and step not in owned:
                    hops += 1
                    if hops > MAX_HOPS:
                        raise Corrupt(f"{path!r}: too many symlinks")
                    here = b"" if found.link.startswith(b"/") else here
                    todo = found.link.split(b"/") + todo
                elif found.kind is EntryKind.DIRECTORY:
                    here = step
                elif create:
                    raise Corrupt(f"{path!r}: {step!r} is not a folder")
                else:
                    return None
        return here

    def tree(self) -> dict[bytes, Found]:
        """Every path."""
        links: dict[int, set[bytes]] = {}
        for path, number in self.paths.items():
            links.setdefault(number, set()).add(path)
        return {path: _found(self.inodes[number], links[number]) for path, number in self.paths.items()}

    def _named(self, link: bytes) -> int:
        head, _, name = link.rpartition(b"/")
        folder = self.real(head)
        found = None if folder is None else self._at(_join(folder, name))
        if found is None or folder is None:
            raise Corrupt(f"hard link to {link!r}, which does not exist")
        if found.kind is EntryKind.DIRECTORY:
            raise Corrupt(f"hard link to {link!r}, which is a folder")
        return self.paths[_join(folder, name)]

    def _at(self, path: bytes) -> Member | None:
        return self.inodes[self.paths[path]] if path in self.paths else None

    def _put(self, path: bytes, member: Member) -> None:
        number = next(self._numbers)
        self.paths[path] = number
        self.inodes[number] = member

    def _below(self, path: bytes) -> set[bytes]:
        prefix = path + b"/" if path else b""
        return {other for other in self.paths if other and other.startswith(prefix)}

    def _clear(self, path: bytes) -> None:
        for other in {path} | self._below(path):
            self.paths.pop(other, None)


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _folder() -> Member:
    return Member(b"", EntryKind.DIRECTORY, mode=0o755)


def _kept(member: Member) -> Member:
    """Rule 6."""
    xattrs = {name: value for name, value in member.xattrs.items() if name.startswith(_NAMESPACES)}
    return evolve(member, xattrs=xattrs, mode=0o777 if member.kind is EntryKind.SYMLINK else member.mode)


def _found(member: Member, links: Iterable[bytes]) -> Found:
    kind = member.kind
    is_device = kind in {EntryKind.CHARACTER, EntryKind.BLOCK}
    return Found(
        kind=kind,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime_ns=member.mtime_ns,
        content=member.content if kind is EntryKind.FILE else b"",
        target=member.link if kind is EntryKind.SYMLINK else b"",
        device=member.device if is_device else (0, 0),
        xattrs=dict(member.xattrs),
        links=frozenset(links),
    )
