"""Applies layers to a tree in memory: the OCI image specification's "Applying Changesets" (layer.md), without I/O.

A layer's whiteouts and opaque markers act on the lower layers only, so they are all found in the tree as it was before
the layer, then taken away, and only then its entries are made, in the tar's order.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Container, Iterable
from itertools import islice

from attrs import define, field, frozen

from monocore_core.erofs import BLOCK, NO_XATTRS, OWN_DATA, TARGET_MAX, Node, directory, representable
from monocore_core.errors import Corrupt, LimitExceeded, Unsupported
from monocore_core.layertar import Entry, EntryKind, LayerEvent, Opaque, Segment, Whiteout

#: Symlinks that one path may go through, as in the kernel.
MAX_HOPS = 40
#: Folders above one another.
MAX_DEPTH = 2048
#: Steps of all path look-ups together, for each entry that is allowed: a bound on the time that hostile paths take.
STEPS_PER_ENTRY = 32
#: Events between two looks at whether the work was cancelled.
BATCH = 2048

_TYPES = {
    EntryKind.FILE: stat.S_IFREG,
    EntryKind.SYMLINK: stat.S_IFLNK,
    EntryKind.CHARACTER: stat.S_IFCHR,
    EntryKind.BLOCK: stat.S_IFBLK,
    EntryKind.FIFO: stat.S_IFIFO,
}


@frozen(eq=False)
class Scattered:
    """A file whose data is not one run of whole blocks in its tar: sparse, or at the tar's ragged end."""

    node: Node
    source: int
    segments: tuple[Segment, ...]


def _nothing(text: str) -> None:
    del text


def _go_on() -> None:
    """Never cancelled."""


@define(eq=False)
class Tree:
    """The merged tree so far.

    Attributes:
        root: its root.
        max_entries: of all layers together.
        warn: told in a sentence what was left out.
        check: called now and then; raises to stop the work.
        scattered: files that need a chunk map; some may have been replaced since.
    """

    root: Node = field(factory=directory)
    max_entries: int = 2_000_000
    warn: Callable[[str], None] = _nothing
    check: Callable[[], None] = _go_on
    scattered: list[Scattered] = field(factory=list[Scattered])
    _count: int = 0
    _steps: int = 0
    _folders: dict[bytes, Node] = field(factory=dict[bytes, Node])

    def apply(self, source: int, size: int, events: Iterable[LayerEvent]) -> None:
        """Put a layer on top.

        Args:
            source: the number by which its files refer to it.
            size: bytes of its tar.
            events: what :func:`monocore_core.layertar.read_layer` says of it.

        Raises:
            Corrupt: a path through a file, too many symlinks, a hard link to nothing, data beyond the tar.
            Unsupported: a symlink without a target, or too long.
            LimitExceeded: too many entries, or too deep.
        """
        stream = iter(events)
        lower = bool(self.root.children)
        if lower:  # removals come first, so all of the layer must be known
            known: list[LayerEvent] = []
            for batch in _batches(stream):
                known.extend(batch)
                self._tally(len(batch))
            self._remove(known)
            stream = iter(known)
        self._folders = {}
        whole = size - size % BLOCK
        for batch in _batches(stream):
            if not lower:
                self._tally(len(batch))
            for event in batch:
                if isinstance(event, Entry):
                    self._make(event, source, size, whole)
            self.check()

    def reachable(self, candidates: Iterable[Scattered]) -> list[Scattered]:
        """Those that are still in the tree, in their order, each node once."""
        wanted = {id(item.node): item for item in candidates}
        found: set[int] = set()
        waiting = [self.root]
        while wanted and waiting:
            for child in (waiting.pop().children or {}).values():
                if child.children is not None:
                    waiting.append(child)
                elif id(child) in wanted:
                    found.add(id(child))
        return [item for key, item in wanted.items() if key in found]

    def _tally(self, events: int) -> None:
        self._count += events
        if self._count > self.max_entries:
            raise LimitExceeded(
                f"the layers have more than {self.max_entries} entries",
                hint="raise max_entries in the layer merger's options",
            )
        self.check()

    def _remove(self, events: Iterable[LayerEvent]) -> None:
        removals = [event for event in events if isinstance(event, Whiteout | Opaque)]
        if not removals:
            return
        owned = {
            event.path for event in events if isinstance(event, Entry) and event.kind is EntryKind.DIRECTORY
        }
        doomed: list[tuple[dict[bytes, Node], bytes | None]] = []
        for event in removals:
            head, _, last = event.path.rpartition(b"/")
            folder = self._walk(event.path if isinstance(event, Opaque) else head, owned=owned)
            if folder is not None and folder.children is not None:
                doomed.append((folder.children, last if isinstance(event, Whiteout) else None))
        for children, name in doomed:
            if name is None:
                children.clear()
            else:
                children.pop(name, None)

    def _make(self, entry: Entry, source: int, size: int, whole: int) -> None:
        """Make one entry."""
        kind, path = entry.kind, entry.path
        if not path:
            if kind is not EntryKind.DIRECTORY:
                raise Corrupt(f"the root itself is a {kind.value}")
            self._update(self.root, entry)
            return
        head, _, name = path.rpartition(b"/")
        parent = self._folders.get(head)
        if parent is None:
            parent = self._folders[head] = self._parent(head)
        siblings = parent.children
        assert siblings is not None  # noqa: S101 - what _parent gives is a folder
        existing = siblings.get(name)
        if kind is EntryKind.DIRECTORY:
            if existing is not None and existing.children is not None:
                self._update(existing, entry)
                return
            node = Node(stat.S_IFDIR, children={})
            self._update(node, entry)
        elif kind is EntryKind.HARDLINK:
            node = self._target(entry)
        else:
            node = self._node(entry, source, size, whole)
        if existing is not None and (existing.children is not None or stat.S_ISLNK(existing.mode)):
            self._folders = {}  # paths may lead elsewhere now
        siblings[name] = node

    def _update(self, node: Node, entry: Entry) -> None:
        """Give a folder the metadata of its entry."""
        node.mode = stat.S_IFDIR | entry.mode & 0o7777
        node.uid, node.gid, node.mtime_ns = entry.uid, entry.gid, entry.mtime_ns
        node.xattrs = self._xattrs(entry) if entry.xattrs else NO_XATTRS

    def _node(self, entry: Entry, source: int, size: int, whole: int) -> Node:
        """An inode of an entry that is neither a folder nor a hard link."""
        kind, length, position = entry.kind, entry.size, entry.position
        xattrs = self._xattrs(entry) if entry.xattrs else NO_XATTRS
        mode = _TYPES[kind] | entry.mode & 0o7777
        if kind is not EntryKind.FILE:
            node = Node(mode, entry.uid, entry.gid, entry.mtime_ns, device=entry.device, xattrs=xattrs)
            if kind is EntryKind.SYMLINK:
                if not 0 < len(entry.link) <= TARGET_MAX:
                    raise Unsupported(
                        f"{show(entry.path)}: a symlink's target of {len(entry.link)} bytes is not possible"
                    )
                node.mode, node.data = stat.S_IFLNK | 0o777, entry.link
            return node
        node = Node(mode, entry.uid, entry.gid, entry.mtime_ns, length, xattrs=xattrs)
        segments = entry.segments
        if segments is None:
            if not length:
                return node
            if position + length > size:
                raise Corrupt(f"{show(entry.path)}: its data goes beyond the end of the tar")
            if not position % BLOCK and position + length <= whole:
                node.source, node.block = source, position // BLOCK
                return node
            segments = (Segment(0, length, position),)
        _check_segments(entry, segments, size)
        node.source = source if length else OWN_DATA
        if length:
            self.scattered.append(Scattered(node, source, segments))
        return node

    def _target(self, entry: Entry) -> Node:
        """What a hard link names."""
        head, _, name = entry.link.rpartition(b"/")
        folder = self._walk(head)
        node = folder.children.get(name) if folder is not None and folder.children is not None else None
        if node is None:
            raise Corrupt(f"{show(entry.path)}: hard link to {show(entry.link)}, which does not exist")
        if node.children is not None:
            raise Corrupt(f"{show(entry.path)}: hard link to {show(entry.link)}, which is a folder")
        return node

    def _xattrs(self, entry: Entry) -> dict[bytes, bytes]:
        kept = {name: value for name, value in entry.xattrs.items() if representable(name)}
        for name in entry.xattrs.keys() - kept.keys():
            self.warn(
                f"{show(entry.path)}: extended attribute {show(name)} is in no namespace of Linux, left out"
            )
        return kept

    def _parent(self, path: bytes) -> Node:
        folder = self._walk(path, create=True)
        assert folder is not None  # noqa: S101 - it was made
        return folder

    def _walk(self, path: bytes, *, create: bool = False, owned: Container[bytes] = ()) -> Node | None:
        """The folder that ``path`` leads to, through symlinks, inside the root.

        Args:
            path: relative to the root.
            create: make what is missing, as root's 0755; then the result is never None.
            owned: real paths that the layer itself makes folders: a symlink there is about to go, and leads nowhere.

        Raises:
            Corrupt: too many symlinks; or with ``create``, something on the way is not a folder.
            LimitExceeded: too deep, or too many steps in all.
        """
        stack = [self.root]
        names: list[bytes] = []
        todo = path.split(b"/")[::-1]
        hops = 0
        while todo:
            self._step(len(stack))
            name = todo.pop()
            if name in {b"", b".", b".."}:
                if name == b".." and names:
                    stack.pop()
                    names.pop()
                continue
            child = _child(stack[-1], name, create=create)
            if child is None:
                return None
            if child.children is not None:
                stack.append(child)
                names.append(name)
                continue
            if stat.S_ISLNK(child.mode) and b"/".join((*names, name)) not in owned:
                hops += 1
                _check_hops(hops, path)
                if child.data.startswith(b"/"):
                    del stack[1:], names[:]
                todo.extend(child.data.split(b"/")[::-1])
                continue
            if create:
                raise Corrupt(f"{show(path)}: {show(name)} on the way to it is not a folder")
            return None
        return stack[-1]

    def _step(self, depth: int) -> None:
        self._steps += 1
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"folders are more than {MAX_DEPTH} deep")
        if self._steps > self.max_entries * STEPS_PER_ENTRY:
            raise LimitExceeded("the layers' paths take too long to follow")


def _child(folder: Node, name: bytes, *, create: bool) -> Node | None:
    children = folder.children
    assert children is not None  # noqa: S101 - only folders are walked
    child = children.get(name)
    if child is None and create:
        child = children[name] = directory()
    return child


def _check_hops(hops: int, path: bytes) -> None:
    if hops > MAX_HOPS:
        raise Corrupt(f"{show(path)}: more than {MAX_HOPS} symlinks on the way")


def _check_segments(entry: Entry, segments: tuple[Segment, ...], size: int) -> None:
    end = 0
    for segment in segments:
        if segment.offset < end or segment.length < 0 or segment.position < 0:
            raise Corrupt(f"{show(entry.path)}: its sparse map is not in order")
        end = segment.offset + segment.length
        if end > entry.size or segment.position + segment.length > size:
            raise Corrupt(f"{show(entry.path)}: its sparse map goes beyond its data")


def _batches(events: Iterable[LayerEvent]) -> Iterable[list[LayerEvent]]:
    stream = iter(events)
    while batch := list(islice(stream, BATCH)):
        yield batch


def show(path: bytes) -> str:
    """A path for a message: printable, bounded."""
    return repr(path[:200])[1:]
