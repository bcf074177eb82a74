"""Paths of a tar, cleaned and bounded, and what their last part means (OCI image-spec, layer.md, "Whiteouts")."""

from __future__ import annotations

from monocore_core.errors import Corrupt, LimitExceeded
from monocore_core.layertar.events import Opaque, Whiteout
from monocore_core.layertar.limits import Limits

WHITEOUT = b".wh."
#: What aufs kept for itself; no part of the image.
AUFS = b".wh..wh."
OPAQUE = b".wh..wh..opq"
_SHOWN = 200
_DOT_SLASH = (0x2E, 0x2F)


def shown(path: bytes) -> str:
    """A path in a message: quoted, without control characters, cut when long."""
    text = repr(path[:_SHOWN])[1:]
    return text if len(path) <= _SHOWN else f"{text[:-1]}…{text[-1]}"


def clean(name: bytes, limits: Limits) -> bytes:
    """A path relative to the root without empty, ``.`` and ``..`` parts; ``b""`` is the root.

    Raises:
        Corrupt: it climbs above the root.
        LimitExceeded: too long or too deep.
    """
    path = name[2:] if name.startswith(b"./") else name
    if not path or path[0] in _DOT_SLASH or b"/." in path or b"//" in path:
        path = _normalised(path)
    elif path.endswith(b"/"):
        path = path[:-1]
    if len(path) > limits.component or path.count(b"/") >= limits.depth:
        _check(path, limits)
    return path


def _normalised(name: bytes) -> bytes:
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise Corrupt(f"path {shown(name)} climbs out of the root")
            parts.pop()
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)


def _check(path: bytes, limits: Limits) -> None:
    if len(path) > limits.path:
        raise LimitExceeded(f"its path has {len(path)} bytes, more than {limits.path}")
    parts = path.split(b"/")
    if len(parts) > limits.depth:
        raise LimitExceeded(f"its path is {len(parts)} folders deep, more than {limits.depth}")
    longest = max(map(len, parts))
    if longest > limits.component:
        raise LimitExceeded(f"a part of its path has {longest} bytes, more than {limits.component}")


def marker(path: bytes) -> Whiteout | Opaque | None:
    """What a path with ``.wh.`` at the beginning of a part stands for; None for what aufs kept for itself.

    Raises:
        Corrupt: a whiteout of nothing, of ``.`` or ``..``, or a path below a whiteout.
    """
    parent, _, name = path.rpartition(b"/")
    for part in parent.split(b"/"):
        if part.startswith(AUFS):
            return None
        if part.startswith(WHITEOUT):
            raise Corrupt("its path goes through a whiteout")
    if name == OPAQUE:
        return Opaque(parent)
    if name.startswith(AUFS):
        return None
    removed = name[len(WHITEOUT) :]
    if removed in {b"", b".", b".."}:
        raise Corrupt("it is a whiteout of no file")
    return Whiteout(parent + b"/" + removed if parent else removed)


def marks(path: bytes) -> bool:
    """Whether a part of the cleaned path begins as whiteouts do."""
    return path.startswith(WHITEOUT) or b"/.wh." in path
