"""Trees that no layers made, as a program that uses the writer of EROFS may give it: from an input's bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import evolve

from monocore_core.erofs import OWN_DATA, Chunks, Node, block, character, directory, fifo, regular, symlink
from scripts.fuzz.target import Taken


def tree(taken: Taken, xattrs: Sequence[Sequence[tuple[bytes, bytes]]]) -> Node:
    """A root, and what is in it: each thing with a name of any length, numbers out of range, or several names."""
    made: list[Node] = []
    root = taken.pick((directory(), regular(b""), evolve(directory(), nid=1)))
    while taken.left:
        kind, name = taken.byte() % 8, taken.pick((b"a", b"b", b"c"))
        name *= 1 + taken.number() % 300
        words = taken.part(taken.number() % 5000)
        if kind == 0 and made:
            node = taken.pick(made)
        elif kind == 1:
            node = symlink(words)
        elif kind == 2:
            node = taken.pick((character, block))(taken.pick(_NUMBERS), taken.pick(_NUMBERS))
        elif kind == 3:
            chunks = Chunks(taken.byte() % 40, ((0, 1), None) * (taken.byte() % 20))
            node = evolve(regular(b""), size=taken.number(), chunks=chunks)
        elif kind == 4:
            node = evolve(regular(words), size=taken.pick((len(words), 3)), source=taken.pick((OWN_DATA, 0)))
        elif kind == 5:
            node = evolve(fifo(), uid=taken.pick(_NUMBERS), gid=taken.pick(_NUMBERS))
        elif kind == 6:
            node = evolve(fifo(), xattrs=dict(taken.pick(xattrs)))
        else:
            node = directory({b"x" * n: fifo() for n in range(1, 1 + taken.byte() % 60)})
        (root.children if root.children is not None else {})[name] = node
        if node.children is None:
            made.append(node)
    return root


#: In range, and not.
_NUMBERS: Final = (0, 5, -1, 1 << 20, (1 << 32) - 1, 1 << 32)


def seeds_of_trees(kinds: int) -> Iterator[bytes]:
    """Inputs with trees, each with one thing that is in order, or out of it.

    Args:
        kinds: of extended attributes.
    """
    for limits in range(3):
        yield bytes([0x80, limits, 0, 0, 0]) + b"".join(_thing(7, bytes([59]), name=n) for n in (1, 2, 3, 4))
    for root in (1, 2):
        yield bytes([0x80, 0, 0, 0, root])
    for end, name in ((1, 3), (2, 0), (0, 17)):
        yield bytes([0x80, 0, end, name, 0]) + _thing(5, b"\0\0")
    things = [_thing(1, words=b"t" * size) for size in (0, 9, 480, 4100)]
    things += [
        _thing(2, bytes([which, *numbers]))
        for which in (0, 1)
        for numbers in ((1, 1), (2, 1), (1, 2), (5, 0))
    ]
    things += [_thing(3, bytes([bits, many]) + b"\0\x10") for bits, many in ((0, 4), (1, 2), (33, 0), (3, 1))]
    things += [_thing(4, bytes([size, source]), words=b"words") for size in (0, 1) for source in (0, 1)]
    things += [_thing(5, bytes([uid, gid])) for uid in (1, 4, 5) for gid in (0, 2)]
    things += [_thing(6, bytes([which])) for which in range(kinds)]
    things += [_thing(5, b"\0\0", name=260)]
    yield from (bytes([0x80, 0, 0, 0, 0]) + thing for thing in things)
    yield bytes([0x80, 0, 0, 0, 0]) + things[1] + _thing(0, b"\0", name=3)


def _thing(kind: int, more: bytes = b"", *, words: bytes = b"", name: int = 1) -> bytes:
    return bytes([kind, 0]) + struct.pack("<H", name - 1) + struct.pack("<H", len(words)) + words + more
