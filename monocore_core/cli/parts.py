"""Words of the command line to values of the model, as Docker reads them: mounts, platforms, and what :mod:`monocore_core.notation.parts` has.

Pure; every refusal is an InvalidInput that shows a right one. Apart from :mod:`.values`, since the model takes longer to import than a daemon
to answer.
"""

from __future__ import annotations

from pathlib import Path

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.volume import VolumeMount
from monocore_core.notation.parts import parse_publish, parse_tmpfs, parse_ulimit

__all__ = ["parse_mount", "parse_platform", "parse_publish", "parse_tmpfs", "parse_ulimit", "parse_volume"]

_MOUNT_KEYS = {
    "type": "type", "source": "source", "src": "source", "target": "target", "destination": "target", "dst": "target",
    "readonly": "readonly", "ro": "readonly", "tmpfs-size": "size",
}  # fmt: skip
_MOUNT_HINT = "for example type=bind,source=/srv/data,target=/data,readonly"


def parse_volume(text: str) -> VolumeMount:
    """Docker's ``-v``: ``/host:/guest[:ro]``, ``NAME:/guest[:ro]``, ``/guest``."""
    return VolumeMount.parse(text, Path.cwd())


def parse_mount(text: str) -> VolumeMount | TmpfsMount:
    """Docker's ``--mount``: ``type=bind|volume|tmpfs,source=…,target=…[,readonly][,tmpfs-size=…]``."""
    fields: dict[str, str] = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        name = _MOUNT_KEYS.get(key.strip())
        if name is None:
            raise InvalidInput(
                f"mount option {key[:40]!r} is not supported",
                hint="supported: type, source, target, readonly, tmpfs-size",
            )
        fields[name] = value if equals else "true"
    kind, target = fields.get("type", "volume"), fields.get("target", "")
    readonly = fields.get("readonly", "false") in ("true", "1")
    source = fields.get("source", "")
    if not target:
        raise InvalidInput(f"{text[:200]!r} names no target", hint=_MOUNT_HINT)
    if kind == "tmpfs" and not source:
        return parse_tmpfs(f"{target}:size={fields['size']}" if "size" in fields else target)
    if kind == "bind" and source:
        return VolumeMount(target, str(Path.cwd() / source), readonly=readonly, create=False)
    if kind == "volume" and "/" not in source:
        return VolumeMount(target, source, readonly=readonly)
    raise InvalidInput(f"{text[:200]!r} is not a mount", hint=_MOUNT_HINT)


def parse_platform(text: str) -> Platform:
    """``linux/arm64``, or a known architecture alone."""
    return Platform.parse(text)
