"""What each layer changes, as overlayfs wants it: whiteouts and opaque folders instead of the image's markers. Pure.

A layer is not taken as it stands in its tar, but as the difference between the merged tree below it and above it. So everything
that depends on what lies below is settled: removals and entries through lower symlinks, folders that replace files, folders that
are only below, hard links to lower files. Whether a folder can serve several images follows from its content
(:mod:`.identity`), and it can whenever the layers below did not matter.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from attrs import define, field

from monocore_core.erofs import Node
from monocore_core.layertree import show

#: Prefixes of the attributes by which overlayfs speaks to itself.
PRIVATE_XATTRS = (b"trusted.overlay.", b"user.overlay.")


class UnfitError(Exception):
    """The tree has something in it that overlayfs would take for its own."""


@define(eq=False)
class Differences:
    """The layers of one stack, lowest first.

    Attributes:
        opaque: the attribute that marks an opaque folder.
    """

    opaque: Mapping[bytes, bytes]
    _below: Node = field(factory=lambda: Node(stat.S_IFDIR | 0o755, children={}))
    _known: set[Node] = field(factory=set[Node])

    def add(self, root: Node) -> Node:
        """The layer that makes the merged tree ``root`` of the one before, at first of an empty one.

        Returns:
            A tree of its own folders, with whiteouts, and markers among the attributes. Its root always has ``root``'s
            metadata.

        Raises:
            UnfitError: it has something in it that overlayfs would misunderstand.
        """
        upper = _snapshot(root)
        made = bare(upper)
        _Difference(self.opaque, made).compare(self._below, upper)
        inside = {node for _, node in _all(made) if node.children is None}
        relinked = inside & self._known  # of a new file all names are new
        if relinked:
            _complete_links(upper, made, relinked)
        self._known |= inside
        self._below = upper
        return made


def bare(folder: Node) -> Node:
    """A folder like ``folder``, empty."""
    return Node(folder.mode, folder.uid, folder.gid, folder.mtime_ns, xattrs=folder.xattrs, children={})


def _snapshot(root: Node) -> Node:
    """The tree as it is now. Folders are copied, since they are changed in place; other nodes never change."""
    copied = bare(root)
    waiting = [(root, copied)]
    while waiting:
        source, target = waiting.pop()
        children = dict(source.children or {})
        for name, child in children.items():
            if child.children is not None:
                children[name] = below = bare(child)
                waiting.append((child, below))
        target.children = children
    return copied


_Pair = tuple[Node, bytes, Mapping[bytes, bytes] | None]


@define(eq=False)
class _Difference:
    """Fills ``made``, the root of the new layer."""

    opaque: Mapping[bytes, bytes]
    made: Node
    #: Parent and name of folders that are in both trees, with the attributes of those that have the same metadata.
    _pairs: list[_Pair] = field(factory=list[_Pair])
    _waiting: list[tuple[Node, Node, Node]] = field(factory=list[tuple[Node, Node, Node]])

    def compare(self, lower: Node, upper: Node) -> None:
        _check_fit(b"", upper)
        self._waiting.append((lower, upper, self.made))
        while self._waiting:
            self._folder(*self._waiting.pop())
        for parent, name, plain in reversed(self._pairs):  # folders below others come later
            assert parent.children is not None  # noqa: S101 - a folder
            folder = parent.children[name]
            if plain is not None and not folder.children and folder.xattrs is plain:
                del parent.children[name]

    def _folder(self, lower: Node, upper: Node, made: Node) -> None:
        """Compare a folder that is in both; ``made`` receives what is new in it."""
        old_children, children = lower.children or {}, upper.children or {}
        out: dict[bytes, Node] = {}
        shines_through = False
        for name, child in children.items():
            old = old_children.get(name)
            if old is child:
                shines_through = True
            elif child.children is None or old is None:
                out[name] = _checked(name, child)
            elif old.children is None:
                out[name] = self._marked(_checked(name, child))
            else:
                shines_through = True
                out[name] = below = bare(child)
                _check_fit(name, below)
                self._pairs.append((made, name, child.xattrs if _same(old, child) else None))
                self._waiting.append((old, child, below))
        gone = old_children.keys() - children.keys()
        if gone and not shines_through and made is not self.made:  # a root is never looked at for markers
            made.xattrs = {**made.xattrs, **self.opaque}
        else:
            out.update((name, Node(stat.S_IFCHR)) for name in gone)
        made.children = out

    def _marked(self, folder: Node) -> Node:
        """A whole folder over something that is none."""
        made = bare(folder)
        made.children = folder.children
        made.xattrs = {**folder.xattrs, **self.opaque}
        return made


def _checked(name: bytes, new: Node) -> Node:
    """A file, or a whole folder, that is not below."""
    for inner, node in _all(new):
        _check_fit(inner or name, node)
    return new


def _check_fit(name: bytes, node: Node) -> None:
    """See that overlayfs would not misunderstand a file of an image."""
    if stat.S_ISCHR(node.mode) and node.device == (0, 0):
        raise UnfitError(f"the device {show(name)} is number 0:0, which overlayfs takes for a removal")
    for attribute in node.xattrs:
        if attribute.startswith(PRIVATE_XATTRS):
            raise UnfitError(f"{show(name)} has the attribute {show(attribute)}, which is overlayfs's own")


def _same(one: Node, other: Node) -> bool:
    """Whether two folders have the same metadata."""
    return (one.mode, one.uid, one.gid, one.mtime_ns, dict(one.xattrs)) == (
        other.mode,
        other.uid,
        other.gid,
        other.mtime_ns,
        dict(other.xattrs),
    )


def _complete_links(upper: Node, made: Node, relinked: set[Node]) -> None:
    """Lower files that got a new name the layer must have under all names: hard links do not reach into lower layers."""
    found: list[tuple[tuple[bytes, ...], Node]] = []
    waiting: list[tuple[tuple[bytes, ...], Node]] = [((), upper)]
    while waiting:
        path, folder = waiting.pop()
        for name, child in (folder.children or {}).items():
            if child.children is not None:
                waiting.append(((*path, name), child))
            elif child in relinked:
                found.append(((*path, name), child))
    for path, node in found:
        _put(upper, made, path, node)


def _put(upper: Node, made: Node, path: tuple[bytes, ...], node: Node) -> None:
    """Have ``node`` in the layer at ``path``, with the folders above it."""
    for name in path[:-1]:
        assert upper.children is not None  # noqa: S101 - the path was found in it
        assert made.children is not None  # noqa: S101 - likewise
        upper = upper.children[name]
        if name not in made.children:
            made.children[name] = bare(upper)
        made = made.children[name]
    assert made.children is not None  # noqa: S101 - likewise
    made.children[path[-1]] = node


def _all(root: Node) -> Iterator[tuple[bytes, Node]]:
    """Every node below the root and the root, with its last name; a file with several names comes up for each."""
    yield b"", root
    waiting = [root]
    while waiting:
        for name, child in (waiting.pop().children or {}).items():
            yield name, child
            if child.children is not None:
                waiting.append(child)
