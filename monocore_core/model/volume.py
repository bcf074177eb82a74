"""What of the host a sandbox sees: a folder or file of the host's, a named volume, or an empty folder of its own. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from monocore_core.errors import InvalidInput

#: Mounts of one sandbox, tmpfs included; the guest agent takes a few more.
MAX_MOUNTS = 60
_MAX_TARGET = 1000
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}\Z")
_FORMS = "forms: /host/path:/guest/path[:ro], NAME:/guest/path[:ro], /guest/path"
#: Options that Docker knows and that mean nothing, or nothing else, here.
_IGNORED = frozenset({"rw", "z", "Z", "nocopy", "private", "rprivate", "consistent", "cached", "delegated"})
#: Never shared: what lives there is the kernel's and the devices'.
FORBIDDEN = (Path("/proc"), Path("/sys"), Path("/dev"))


class VolumeKind(StrEnum):
    """Where a volume's bytes are."""

    HOST = "bind"
    NAMED = "volume"
    OWN = "anonymous"


@frozen
class VolumeMount:
    """One volume of a sandbox.

    Attributes:
        target: where it is mounted in the guest; absolute, without ``..``.
        source: path on the host (absolute), name of a volume, or "" for an empty folder that ends with the sandbox.
        readonly: enforced on the host's side.
        create: whether a folder is made where the host has nothing at ``source`` (Docker's ``-v`` does, its ``--mount`` does not).
    """

    target: str
    source: str = ""
    readonly: bool = False
    create: bool = True

    def __attrs_post_init__(self) -> None:
        if not self.target.startswith("/") or "\0" in self.target or "\0" in self.source:
            raise InvalidInput(f"volume target {self.target[:200]!r} is not an absolute path", hint=_FORMS)
        if posixpath.normpath(self.target).strip("/") == "":
            raise InvalidInput(
                "a volume cannot be mounted on '/'", hint="choose a folder of the guest, e.g. /data"
            )
        if len(self.target.encode()) > _MAX_TARGET:
            raise InvalidInput(f"volume target {self.target[:60]!r}… is longer than {_MAX_TARGET} bytes")
        if self.source and not self.source.startswith("/"):
            check_volume_name(self.source)

    @property
    def kind(self) -> VolumeKind:
        """Where its bytes are."""
        if not self.source:
            return VolumeKind.OWN
        return VolumeKind.HOST if self.source.startswith("/") else VolumeKind.NAMED

    @classmethod
    def parse(cls, text: str, cwd: Path) -> VolumeMount:
        """Docker's ``-v``: ``[SOURCE:]TARGET[:OPTIONS]``; a source with a slash, or that begins with ``.``, is a path, else a name.

        Args:
            text: the words.
            cwd: what a relative path of the host is relative to.

        Raises:
            InvalidInput: it is malformed, or an option is unknown.
        """
        parts = text.split(":")
        if not text or len(parts) > 3 or not all(parts):
            raise InvalidInput(f"{text[:200]!r} is not a volume", hint=_FORMS)
        if len(parts) == 1:
            return cls(_normal(parts[0]))
        options = parts[2].split(",") if len(parts) == 3 else []
        if len(parts) == 2 and not parts[1].startswith("/"):
            raise InvalidInput(f"{text[:200]!r} names no absolute path in the guest", hint=_FORMS)
        for option in options:
            if option != "ro" and option not in _IGNORED:
                raise InvalidInput(
                    f"volume option {option[:40]!r} is not supported", hint="supported: ro, rw"
                )
        return cls(_normal(parts[1]), source_of(parts[0], cwd), readonly="ro" in options)


def source_of(text: str, cwd: Path) -> str:
    """A host path made absolute, or a volume's name as it is."""
    if "/" in text or text in (".", ".."):
        return posixpath.normpath(posixpath.join(cwd.as_posix(), text)) if not text.startswith("/") else text
    return text


def check_volume_name(name: str) -> str:
    """``name`` itself when a volume may have it.

    Raises:
        InvalidInput: it may not.
    """
    if not _NAME.match(name):
        raise InvalidInput(
            f"volume name {name[:80]!r} is not allowed",
            hint="use at most 63 letters, digits, '_', '.' and '-', beginning with a letter or digit; "
            "a folder of the host is written with a slash",
        )
    return name


def in_order(mounts: Iterable[VolumeMount]) -> tuple[VolumeMount, ...]:
    """Outer targets before inner ones, so that none hides another."""
    return tuple(sorted(mounts, key=lambda mount: mount.target.split("/")))


def check_targets(targets: Iterable[str]) -> None:
    """Refuse what cannot be mounted together.

    Raises:
        InvalidInput: two have one target, or there are too many.
    """
    seen: set[str] = set()
    for target in map(posixpath.normpath, targets):
        if target in seen:
            raise InvalidInput(f"two mounts have one target: {target}", hint="give each its own")
        seen.add(target)
    if len(seen) > MAX_MOUNTS:
        raise InvalidInput(f"{len(seen)} mounts are more than the {MAX_MOUNTS} that a sandbox can have")


def refusal(path: Path, allowed: Iterable[Path], home: Path) -> str | None:
    """Why a folder of the host may not be shared, or None.

    Args:
        path: of the host, absolute, without symbolic links.
        allowed: folders, likewise, below which sharing is allowed.
        home: the store's folder, which holds the images and secrets of others.
    """
    for forbidden in FORBIDDEN:
        if path == forbidden or forbidden in path.parents:
            return f"{forbidden} is never shared"
    if path == home or home in path.parents:
        return f"{home} is monocore's own folder"
    folders = tuple(allowed)
    if not any(folder == path or folder in path.parents for folder in folders):
        return f"it is in none of the folders that 'volumes.allow' names ({', '.join(map(str, folders)) or 'none'})"
    return None


def _normal(target: str) -> str:
    return posixpath.normpath(target) if target.startswith("/") else target
