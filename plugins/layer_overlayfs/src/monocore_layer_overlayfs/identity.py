"""The name of a layer's folder: a digest of all that is in it, so that equal folders are made once and shared by all images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from attrs import define, field

from monocore_core.erofs import Node
from monocore_core.layertar import Segment


@define(eq=False)
class _Hash:
    sources: Sequence[str]
    segments: Mapping[Node, tuple[Segment, ...]]
    _numbers: dict[Node, int] = field(factory=dict[Node, int])

    def run(self, root: Node, kind: str) -> str:
        digest = hashlib.sha256(kind.encode())
        waiting: list[tuple[bytes, Node] | None] = [(b"", root)]
        while waiting:
            found = waiting.pop()
            if found is None:
                digest.update(b"up\n")
                continue
            name, node = found
            digest.update(repr((name, self._said(node))).encode() + b"\n")
            if node.children is not None:
                waiting.append(None)
                children = node.children
                waiting.extend((name, children[name]) for name in sorted(children, reverse=True))
        return digest.hexdigest()

    def _said(self, node: Node) -> object:
        """Everything about a node but its name and children, so that different nodes say different things."""
        if node.children is None:
            number = self._numbers.setdefault(node, len(self._numbers))
            if number != len(self._numbers) - 1:
                return number
        data: object = node.data
        if node.size:
            segments = self.segments.get(node)
            where = (
                node.block
                if segments is None
                else [(segment.offset, segment.length, segment.position) for segment in segments]
            )
            data = (self.sources[node.source], where, node.size)
        xattrs = sorted(node.xattrs.items())
        return node.mode, node.uid, node.gid, node.mtime_ns, node.device, xattrs, data


def identity(
    root: Node, sources: Sequence[str], segments: Mapping[Node, tuple[Segment, ...]], kind: str
) -> str:
    """64 hexadecimal digits.

    Args:
        root: the layer's own tree.
        sources: diff IDs of the layers that files refer to, by their numbers.
        segments: of files that are not one run in their tar.
        kind: how the folder will be written: what else it depends on.
    """
    return _Hash(sources, segments).run(root, kind)
