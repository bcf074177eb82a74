"""Layers to a folder: reads them into a tree, and writes that."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from monocore_core.erofs import Node
from monocore_core.foldertree.content import Tars
from monocore_core.foldertree.inode import Keep
from monocore_core.foldertree.write import write_tree
from monocore_core.keyed import Check
from monocore_core.layertar import Segment
from monocore_core.layertree import Tree, distinct, merge
from monocore_core.model.image import Layer


@frozen
class Limits:
    """Bounds of one root.

    Attributes:
        max_entries: entries of all layers together.
    """

    max_entries: int = 2_000_000


def merge_into(folder: Path, layers: Sequence[Layer], keep: Keep, limits: Limits, check: Check) -> None:
    """Make ``folder``, which does not exist, with the merged root of ``layers``. Blocking; nothing is synced.

    Raises:
        Corrupt: a layer is malformed; the message names it.
        Unsupported: an entry that cannot be represented here, named.
        LimitExceeded: beyond the bounds.
        StorageError: the host's disk refused.
        OSError: a layer cannot be read.
    """
    tree = read_tree(layers, keep, limits, check)
    with tars_of(layers, [tree.root], segments_of(tree), check) as tars:
        write_tree(tree.root, folder, tars, keep, check)


def read_tree(
    layers: Sequence[Layer],
    keep: Keep,
    limits: Limits,
    check: Check,
    applied: Callable[[Tree], None] | None = None,
) -> Tree:
    """The merged tree; ``applied`` is called after each layer, with the tree so far. Raises as :func:`merge_into`."""

    def warn(text: str) -> None:
        keep.notes.say(text)

    tree = Tree(max_entries=limits.max_entries, warn=warn, check=check)
    merge(tree, layers, lambda _: None if applied is None else applied(tree))
    return tree


def segments_of(tree: Tree) -> Mapping[Node, tuple[Segment, ...]]:
    """Where the files are that are not one run in their tar."""
    return {item.node: item.segments for item in tree.scattered}


@contextmanager
def tars_of(
    layers: Sequence[Layer],
    roots: Iterable[Node],
    segments: Mapping[Node, tuple[Segment, ...]],
    check: Check,
) -> Generator[Tars]:
    """The content of the files below ``roots``, while their layers are open."""
    with ExitStack() as stack:
        found = distinct(layers)
        descriptors: Mapping[int, int] = {
            number: stack.enter_context(found[number].path.open("rb")).fileno()
            for number in sorted(_sources(roots))
        }
        yield Tars(descriptors, segments, check)


def _sources(roots: Iterable[Node]) -> set[int]:
    """Numbers of the layers that files refer to."""
    sources: set[int] = set()
    waiting = list(roots)
    while waiting:
        for node in (waiting.pop().children or {}).values():
            if node.children is not None:
                waiting.append(node)
            elif node.size:
                sources.add(node.source)
    return sources
