"""Layers applied to a tree in memory, which every layer merger then writes in its own way.

Files of the tree say where in which layer's tar their bytes stand: a merger copies them from there, or refers to them.

Worked example::

    tree = Tree(max_entries=1_000_000, warn=print)
    merge(tree, image.layers)                        # reads headers only
    hosts = tree.root.children[b"etc"].children[b"hosts"]
    tar = distinct(image.layers)[hosts.source]       # 512-byte block ``hosts.block`` of it, ``hosts.size`` bytes
    segments = {item.node: item.segments for item in tree.scattered}   # of the files that are not one run there
"""

from monocore_core.layertree.stack import distinct, merge, named
from monocore_core.layertree.tree import Scattered, Tree, show

__all__ = ["Scattered", "Tree", "distinct", "merge", "named", "show"]
