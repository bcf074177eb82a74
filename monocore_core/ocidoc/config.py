"""Image configurations (OCI image-spec v1.1, ``config.md``), Docker's among them."""

from __future__ import annotations

from datetime import datetime

from monocore_core.errors import Corrupt, Unsupported
from monocore_core.model.digest import Digest
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.ocidoc import document as read
from monocore_core.ocidoc.document import Object
from monocore_core.ocidoc.limits import MAX_LAYERS

_ROOT = frozenset({"created", "architecture", "os", "variant", "config", "rootfs"})
_CONFIG = frozenset(
    {
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Labels",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    }
)


def parse_config(data: bytes) -> ImageConfig:
    """An image's configuration. ``extra["config"]`` has the unknown members of its section ``config``.

    Raises:
        Corrupt: malformed.
        LimitExceeded: beyond a bound of :mod:`.limits`.
        Unsupported: it names no architecture, so it is no image that runs (a signature, an attestation).
    """
    root = read.load(data, "image configuration")
    run = read.mapping(root, "config", "configuration")
    where = "configuration.config"
    extra = read.unknown(root, _ROOT)
    if others := read.unknown(run, _CONFIG):
        extra["config"] = others
    return ImageConfig(
        platform=_platform(root),
        diff_ids=_diff_ids(root),
        entrypoint=read.words(run, "Entrypoint", where),
        cmd=read.words(run, "Cmd", where),
        env=read.words(run, "Env", where) or (),
        working_dir=read.text(run, "WorkingDir", where),
        user=read.text(run, "User", where),
        exposed_ports=tuple(read.mapping(run, "ExposedPorts", where)),
        volumes=tuple(read.mapping(run, "Volumes", where)),
        labels=read.texts(run, "Labels", where),
        stop_signal=read.text(run, "StopSignal", where),
        created=_created(root),
        extra=extra,
    )


def _platform(root: Object) -> Platform:
    architecture = read.text(root, "architecture", "configuration").lower()
    if not architecture:
        raise Unsupported(
            "the image's configuration names no architecture",
            hint="it is not an image that can run, but perhaps a signature or another artifact",
        )
    system = read.text(root, "os", "configuration").lower() or "linux"
    variant = read.text(root, "variant", "configuration").lower()
    return Platform(system, architecture, variant)


def _diff_ids(root: Object) -> tuple[Digest, ...]:
    rootfs = read.mapping(root, "rootfs", "configuration")
    kind = read.text(rootfs, "type", "configuration.rootfs")
    if kind not in {"", "layers"}:
        raise Unsupported(f"the image's rootfs is of type {kind[:40]!r} instead of 'layers'")
    if not rootfs:
        raise Corrupt("configuration.rootfs is missing")
    listed = read.items(rootfs, "diff_ids", "configuration.rootfs", MAX_LAYERS) or []
    return tuple(
        read.digest(item, f"configuration.rootfs.diff_ids[{number}]") for number, item in enumerate(listed)
    )


def _created(root: Object) -> datetime | None:
    text = read.text(root, "created", "configuration")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Corrupt(f"configuration.created, {text[:40]!r}, is not a time") from error
    if found.tzinfo is None:
        raise Corrupt(f"configuration.created, {text[:40]!r}, has no time zone")
    return found
