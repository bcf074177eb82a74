"""Writes trees in memory (:mod:`monocore_core.layertree`) into folders, for the mergers that make folders.

Everything is created relative to the descriptor of the folder it stands in, by one name, and only where nothing is: no path is
ever looked up, so no link can be followed, out of the folder or anywhere. Each file is written once, however many layers
replace it.

Worked example::

    keep = Keep.here()
    merge_into(work / "root", image.layers, keep, Limits(), check)
    for sentence in keep.warnings():                 # what this user or file system could not keep
        host.emit(Warned(sentence))
"""

from monocore_core.foldertree.content import Content, Tars, copy_range
from monocore_core.foldertree.inode import Keep
from monocore_core.foldertree.merge import Limits, merge_into, read_tree, segments_of, tars_of
from monocore_core.foldertree.notes import Notes
from monocore_core.foldertree.write import write_tree

__all__ = [
    "Content",
    "Keep",
    "Limits",
    "Notes",
    "Tars",
    "copy_range",
    "merge_into",
    "read_tree",
    "segments_of",
    "tars_of",
    "write_tree",
]
