"""Image configurations (image-spec config.md)."""

from __future__ import annotations

from datetime import datetime

from monocore_core.errors import Corrupt, InvalidInput, LimitExceeded
from monocore_core.model.digest import Digest
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.ocidoc.manifest import MAX_LAYERS
from monocore_core.ocidoc.reading import (
    Table,
    extra_of,
    list_at,
    mapping_at,
    read_object,
    table_at,
    text,
    text_at,
    texts_at,
)

#: Bytes of all arguments or of the whole environment: half of what Linux lets an exec have (MAX_ARG_STRLEN · 16).
MAX_WORDS = 1024 * 1024
_KEYS = frozenset({"os", "architecture", "variant", "config", "rootfs", "created"})


def parse_config(data: bytes) -> ImageConfig:
    """Read an image configuration.

    Raises:
        Corrupt: malformed.
        LimitExceeded: more of anything than is allowed.
    """
    table = read_object(data, "image configuration")
    run = table_at(table.get("config") or {}, "config")
    platform = Platform(
        text_at(table, "os", "config") or "linux",
        text_at(table, "architecture", "config"),
        text_at(table, "variant", "config"),
    )
    if not platform.architecture:
        raise Corrupt("image configuration does not say its architecture")
    return ImageConfig(
        platform=platform,
        diff_ids=_diff_ids(table),
        entrypoint=_words(run, "Entrypoint"),
        cmd=_words(run, "Cmd"),
        env=_bounded(texts_at(run, "Env", "config"), "Env"),
        working_dir=text_at(run, "WorkingDir", "config"),
        user=text_at(run, "User", "config"),
        exposed_ports=_keys(run, "ExposedPorts"),
        volumes=_keys(run, "Volumes"),
        labels=mapping_at(run, "Labels", "config"),
        stop_signal=text_at(run, "StopSignal", "config"),
        created=_created(text_at(table, "created", "config")),
        extra=extra_of(table, _KEYS),
    )


def _diff_ids(table: Table) -> tuple[Digest, ...]:
    rootfs = table_at(table.get("rootfs"), "config.rootfs")
    if text_at(rootfs, "type", "config.rootfs") != "layers":
        raise Corrupt("config.rootfs.type is not 'layers'")
    found: list[Digest] = []
    for i, item in enumerate(list_at(rootfs, "diff_ids", "config.rootfs", limit=MAX_LAYERS)):
        try:
            found.append(Digest.parse(text(item, f"config.rootfs.diff_ids[{i}]")))
        except InvalidInput as error:
            raise Corrupt(f"config.rootfs.diff_ids[{i}]: {error.brief}") from error
    return tuple(found)


def _words(run: Table, key: str) -> tuple[str, ...] | None:
    """A list of words; a single string, which old builders wrote, is one word; null says nothing."""
    value = run.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return (text(value, f"config.{key}"),)
    return _bounded(texts_at(run, key, "config"), key)


def _bounded(words: tuple[str, ...], key: str) -> tuple[str, ...]:
    if any("\0" in word for word in words):
        raise Corrupt(f"config.{key} holds a NUL character")
    if sum(map(len, words)) > MAX_WORDS:
        raise LimitExceeded(f"config.{key} is longer than {MAX_WORDS} characters in all")
    return words


def _keys(run: Table, key: str) -> tuple[str, ...]:
    """The keys of a set, which Go writes as an object of empty objects."""
    value = run.get(key)
    if value is None:
        return ()
    return tuple(text(name, f"config.{key}") for name in table_at(value, f"config.{key}"))


def _created(value: str) -> datetime | None:
    """RFC 3339; what cannot be read is left out, since it only informs."""
    try:
        return datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
