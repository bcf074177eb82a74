"""Layers to the folders that their mount needs: which ones, and what is in each. Reads headers only."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence

from attrs import frozen

from monocore_core.erofs import Node
from monocore_core.foldertree import Keep, Limits, read_tree, segments_of
from monocore_core.keyed import Check
from monocore_core.layertar import Segment
from monocore_core.layertree import Tree, distinct
from monocore_core.model.image import Layer
from monocore_layer_overlayfs.difference import Differences, bare
from monocore_layer_overlayfs.identity import identity
from monocore_layer_overlayfs.mount import MAX_LAYERS
from monocore_layer_overlayfs.record import FORMAT
from monocore_layer_overlayfs.trial import OPAQUE, Ability


@frozen(eq=False)
class Planned:
    """A stack of layer folders.

    Attributes:
        folders: by name; the same name means the same content.
        stack: names, highest first; at least two.
        segments: of files that are not one run in their tar.
    """

    folders: Mapping[str, Node]
    stack: tuple[str, ...]
    segments: Mapping[Node, tuple[Segment, ...]]


def plan(layers: Sequence[Layer], ability: Ability, keep: Keep, limits: Limits, check: Check) -> Planned:
    """What to have on disk for ``layers``, lowest first.

    Raises:
        UnfitError: something in them overlayfs would misunderstand.
        Corrupt: a layer is malformed; named. Likewise LimitExceeded and Unsupported.
        OSError: a layer cannot be read.
    """
    opaque = {OPAQUE[ability.userxattr]: b"y"}
    differences = Differences(opaque)
    made: list[Node] = []
    seen = 0

    def applied(tree: Tree) -> None:
        nonlocal seen
        seen += 1
        if len(layers) - seen >= MAX_LAYERS - 1:  # the lowest of too many become one
            return
        made.append(differences.add(tree.root))

    tree = read_tree(layers, keep, limits, check, applied)
    if not made:
        made.append(bare(tree.root))
    # overlayfs wants two layers at least; this one has nothing, and is below all
    made.insert(0, Node(stat.S_IFDIR | 0o500, children={}))
    segments = segments_of(tree)
    sources = [str(layer.diff_id) for layer in distinct(layers)]
    kind = f"{FORMAT} userxattr={ability.userxattr} {keep.ownership}"
    folders: dict[str, Node] = {}
    stack: list[str] = []
    for root in made:
        check()
        name = identity(root, sources, segments, kind)
        if name in folders:  # overlayfs refuses a folder that stands twice in a stack
            name = identity(root, sources, segments, f"{kind} {len(stack)}")
        folders[name] = root
        stack.append(name)
    return Planned(folders, tuple(reversed(stack)), segments)
