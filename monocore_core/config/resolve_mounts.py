"""What a service mounts: folders of the host, named volumes, volumes of its group. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from monocore_core.config.resolve_parts import absolute
from monocore_core.config.service_tables import GroupMountTable, ServiceTable, VolumeTable
from monocore_core.config.tree import Node, Place, Problems
from monocore_core.errors import InvalidInput
from monocore_core.model.secret import SECRETS_FOLDER, Secret
from monocore_core.model.service import Group, volume_name
from monocore_core.model.volume import MAX_MOUNTS, VolumeMount, check_volume_name

#: A mount, and where it is asked for.
Placed = tuple[VolumeMount, Place]
_FORMS = "/host:/guest[:ro], ./relative:/guest[:ro], NAME:/guest[:ro] or /path"


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, by components: ``/data/shared2`` is not below ``/data/shared``."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def host_path(text: str, place: Place) -> str:
    """The absolute path of the host that a text means.

    Raises:
        InvalidInput: it begins with ``~``, which nothing here expands.
    """
    if text.startswith("~"):
        raise InvalidInput(f"{text[:200]!r}: '~' is not expanded, write ${{HOME}} instead")
    return absolute(text, place)


def is_path(text: str) -> bool:
    """Whether it is a path of the host rather than the name of a volume."""
    return "/" in text or text in (".", "..") or text.startswith("~")


def own_volumes(table: ServiceTable, node: Node, project: str, problems: Problems) -> tuple[Placed, ...]:
    """The mounts of ``volumes``."""
    found: list[Placed] = []
    for number, one in enumerate(table.volumes):
        place = node.at("volumes", number)
        try:
            found.append((_own(one, place, project), place))
        except InvalidInput as error:
            problems.refused(place, error)
    return tuple(found)


def source_of(text: str, place: Place, project: str) -> str:
    """The path of the host, or the store's name of a named volume.

    Raises:
        InvalidInput: it is neither.
    """
    if is_path(text):
        return host_path(text, place)
    check_volume_name(text)
    return check_volume_name(volume_name(project, text))


def _own(one: str | VolumeTable, place: Place, project: str) -> VolumeMount:
    if isinstance(one, VolumeTable):
        return VolumeMount(
            guest_path(one.target), source_of(one.source, place, project), readonly=one.readonly
        )
    source, target, readonly = _split(one)
    if not target and not source.startswith("/"):
        raise InvalidInput(f"{one[:200]!r} is not a volume: write {_FORMS}")
    return VolumeMount(guest_path(target or source), source_of(source, place, project), readonly=readonly)


def _split(text: str) -> tuple[str, str, bool]:
    """``SOURCE[:TARGET[:ro|rw]]``."""
    source, *rest = text.split(":")
    if not source or len(rest) > 2 or not all(rest):
        raise InvalidInput(f"{text[:200]!r} is not a volume: write {_FORMS}")
    if len(rest) == 2 and rest[1] not in ("ro", "rw"):
        raise InvalidInput(f"{text[:200]!r}: volume option {rest[1][:40]!r} is neither ro nor rw")
    if rest and not rest[0].startswith("/"):
        raise InvalidInput(f"{text[:200]!r}: {rest[0][:200]!r} is not an absolute path in the guest")
    return source, rest[0] if rest else "", rest[1:] == ["ro"]


def guest_path(path: str) -> str:
    """An absolute path in the guest, without ``..`` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def target_of(one: str | VolumeTable) -> str:
    """Where in the guest a well-formed volume is mounted."""
    if isinstance(one, VolumeTable):
        return guest_path(one.target)
    return guest_path(one.split(":")[1] if ":" in one else one)


def group_mounts(
    table: ServiceTable, node: Node, group: Group | None, problems: Problems
) -> tuple[Placed, ...]:
    """The mounts of ``group_volumes``; one's own of the same target go before them."""
    own = {target_of(one) for one in table.volumes}
    found: list[Placed] = []
    known = {one.name: one.path for one in group.volumes} if group else {}
    for number, one in enumerate(table.group_volumes):
        place = node.at("group_volumes", number)
        if table.group is None:
            problems.add_about(place, f"group_volumes {one.name!r}, but the service is in no group")
        elif group is not None and one.name not in known:
            there = ", ".join(known) or "none"
            text = (
                f"group_volumes {one.name!r}, which group {group.name!r} does not have (there are: {there})"
            )
            problems.add_about(place, text)
        elif one.name in known:
            if not one.mount:  # missing, which was told
                continue
            try:
                mount = _group_mount(one, known[one.name])
            except InvalidInput as error:
                problems.refused(node.at("group_volumes", number, "mount"), error)
                continue
            if mount.target not in own:
                found.append((mount, place))
    return tuple(found)


def _group_mount(one: GroupMountTable, base: str) -> VolumeMount:
    part, target, readonly = _split(one.mount)
    if not base.startswith("/"):
        if target and part not in (".", "./"):
            raise InvalidInput(
                f"{one.mount[:200]!r}: {base!r} is a named volume, of which no part can be mounted"
            )
        return VolumeMount(guest_path(target or part), base, readonly=readonly)
    path = "/" + posixpath.normpath(posixpath.join(base, part)).lstrip("/")
    if not within(path, base):
        raise InvalidInput(
            f"{one.mount[:200]!r}: {path} is not below the volume's path, {base}: write '.:/guest' for the whole volume"
        )
    return VolumeMount(guest_path(target or part), path, readonly=readonly)


def unique_targets(
    table: ServiceTable, node: Node, volumes: Sequence[Placed], secrets: Iterable[Secret], problems: Problems
) -> None:
    """Every place in the guest has one mount."""
    tmpfs = [(guest_path(one.target), node.at("tmpfs", number)) for number, one in enumerate(table.tmpfs)]
    seen: set[str] = {SECRETS_FOLDER} if any(one.target for one in secrets) else set()
    for target, place in (*((mount.target, place) for mount, place in volumes), *tmpfs):
        if target in seen:
            whose = ", which the secrets have" if target == SECRETS_FOLDER else ""
            problems.add_about(place, f"two mounts have one target: {target}{whose}")
        seen.add(target)
    if len(seen) > MAX_MOUNTS:
        problems.add_about(
            node.at("volumes"), f"{len(seen)} mounts are more than the {MAX_MOUNTS} of one sandbox"
        )
