"""The documents of an image that is another one with a layer more (image-spec v1.1 ``config.md``, ``manifest.md``). Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from attrs import frozen

from monocore_core.errors import InvalidInput
from monocore_core.model.digest import Digest
from monocore_core.model.oci import OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST
from monocore_core.ocidoc import document as read
from monocore_core.ocidoc.changes import apply_changes
from monocore_core.ocidoc.limits import MAX_LAYERS

#: Characters of an author or a message.
MAX_WORDS = 4096
#: Members of a configuration that are of the machine and the moment in which Docker made it.
_PASSING = ("container", "container_config", "docker_version", "id", "parent")


@frozen
class Commit:
    """What is said of a new image.

    Attributes:
        message: for people.
        author: likewise.
        changes: instructions of a Dockerfile, see :mod:`.changes`.
    """

    message: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()


@frozen
class Derived:
    """The documents.

    Attributes:
        config: bytes.
        manifest: bytes.
    """

    config: bytes
    manifest: bytes


def check_commit(commit: Commit) -> None:
    """Refuse what cannot be said of an image, before anything is read.

    Raises:
        InvalidInput: with what.
    """
    for what, words in (("message", commit.message), ("author", commit.author)):
        if len(words) > MAX_WORDS:
            raise InvalidInput(f"the {what} has {len(words)} characters, more than {MAX_WORDS}")
    apply_changes({}, commit.changes)


def derive(
    base: bytes, layers: Sequence[tuple[Digest, int]], added: tuple[Digest, int], commit: Commit, now: float
) -> Derived:
    """Configuration and manifest of an image with the layer ``added``.

    Args:
        base: configuration of the other one, which is checked.
        layers: of the other one, lowest first: diff ID and bytes of each.
        added: of the new layer.
        commit: what is said of it.
        now: seconds since the epoch.

    Raises:
        InvalidInput: a change makes no sense, or the image would have too many layers.
    """
    if len(layers) >= MAX_LAYERS:
        raise InvalidInput(f"the image has {len(layers)} layers already, and no image has more")
    document = dict(read.load(base, "image configuration"))
    for name in _PASSING:
        document.pop(name, None)
    moment = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    document["config"] = apply_changes(read.mapping(document, "config", "configuration"), commit.changes)
    document["created"] = moment
    if commit.author:
        document["author"] = commit.author
    everything = (*layers, added)
    document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id, _ in everything]}
    document["history"] = [*_history(document.get("history"), len(layers)), _entry(moment, commit)]
    config = _json(document)
    described = [
        {"mediaType": OCI_LAYER_TAR, "digest": str(diff_id), "size": size} for diff_id, size in everything
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)},
        "layers": described,
    }
    return Derived(config, _json(manifest))


def _entry(moment: str, commit: Commit) -> dict[str, object]:
    said = " ".join(f"--change {json.dumps(change)}" for change in commit.changes)
    entry: dict[str, object] = {"created": moment, "created_by": f"monocore commit {said}".strip()}
    if commit.author:
        entry["author"] = commit.author
    if commit.message:
        entry["comment"] = commit.message
    return entry


def _history(found: object, layers: int) -> list[object]:
    """What was there, made as long as there are layers: readers count the entries that are of one."""
    entries = cast("list[object]", found) if isinstance(found, list) else []
    real = sum(
        not (isinstance(one, dict) and cast("dict[str, object]", one).get("empty_layer")) for one in entries
    )
    if real > layers:  # it says more than there is, so it says nothing
        entries, real = [], 0
    return [*entries, *({"created_by": ""} for _ in range(layers - real))]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()
