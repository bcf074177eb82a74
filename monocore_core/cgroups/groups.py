"""All groups of one scope."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import evolve

from monocore_core.cgroups.group import Group, write
from monocore_core.cgroups.parse import parse_pids
from monocore_core.cgroups.survey import LEAF, Host, Survey, Way, WhyNot, read, survey
from monocore_core.cgroups.values import Limit, Limits
from monocore_core.errors import Conflict, DeadlineExceeded, InvalidInput, StorageError, Unsupported

_SCOPE = re.compile(r"[a-z0-9]{1,32}\Z")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z")  # no dot: those are the kernel's files


class Cgroups:
    """Makes, finds and removes groups. Any number of these may share a scope, one after the other.

    Args:
        scope: names what belongs together, for example one home folder; 1 to 32 of ``a-z0-9``.
        host: how the host is looked at.

    Raises:
        InvalidInput: ``scope`` is none.
    """

    def __init__(self, scope: str, host: Host | None = None) -> None:
        if not _SCOPE.match(scope):
            raise InvalidInput(f"{scope[:80]!r} is not a scope of control groups")
        self._name = f"monocore-{scope}"
        self._survey = survey(host or Host())

    @property
    def survey(self) -> Survey:
        """What was found on this host."""
        return self._survey

    def what_works(self) -> Mapping[Limit, str | None]:
        """For each limit None when it can be enforced here, else the sentence why not."""
        ways = self._survey.ways
        return {limit: way.reason if isinstance(way, WhyNot) else None for limit, way in ways.items()}

    def create(self, key: str, limits: Limits) -> Group:
        """Make a group with these limits; one that exists gets them. Partial failure: nothing new remains.

        v2 has one folder for all; of v1, those hierarchies alone are used of which something is limited.

        Raises:
            InvalidInput: ``key`` is none.
            Unsupported: a limit cannot be enforced here; the hint says what to do.
            StorageError: the kernel refused.
        """
        group = self._group(key, self._ways(limits))
        if (present := self.find(key)) is not None:
            group = evolve(group, folders={**group.folders, **present.folders})
        made: list[Path] = []
        try:
            for limit, folder in group.folders.items():
                self._prepare(limit, folder.parent)
                with suppress(FileExistsError):
                    folder.mkdir()
                    made.append(folder)
            group.limit(limits)
        except BaseException as error:
            for folder in reversed(made):
                with suppress(OSError):
                    folder.rmdir()
            if isinstance(error, OSError):
                raise StorageError(f"cannot make control group {key!r}: {error}") from error
            raise
        return group

    def find(self, key: str) -> Group | None:
        """The group that was made for a key, by whichever process, or None.

        Raises:
            InvalidInput: ``key`` is none.
        """
        group = self._group(key, {limit: way for limit in Limit if (way := self._survey.way(limit))})
        present = {limit: folder for limit, folder in group.folders.items() if folder.is_dir()}
        return evolve(group, folders=present) if present else None

    def keys(self) -> tuple[str, ...]:
        """Of all groups of this scope."""
        found: set[str] = set()
        for folder in self._scopes():
            with suppress(OSError), os.scandir(folder) as entries:
                found |= {entry.name for entry in entries if entry.is_dir() and _KEY.match(entry.name)}
        return tuple(sorted(found))

    def sweep(self, known: Collection[str]) -> tuple[str, ...]:
        """End the processes of groups of this scope whose key is not known, and remove those groups; gives their keys. Blocking.

        What does not end, or cannot be removed now, is left for the next sweep.
        """
        swept: list[str] = []
        for key in self.keys():
            group = self.find(key) if key not in known else None
            if group is not None:
                with suppress(Conflict, DeadlineExceeded, StorageError):
                    group.kill()
                    group.remove()
                    swept.append(key)
        if not self.keys():
            for folder in self._scopes():
                with suppress(OSError):
                    folder.rmdir()
        return tuple(swept)

    def _ways(self, limits: Limits) -> Mapping[Limit, Way]:
        """Where a group with these limits is made: of v2 everything, since it costs nothing, of v1 what is needed."""
        possible = {limit: way for limit in Limit if (way := self._survey.way(limit))}
        for limit in limits.wanted():
            why = self._survey.ways[limit]
            if isinstance(why, WhyNot):
                raise Unsupported(f"the host cannot limit {limit}: {why.reason}", hint=why.hint or None)
        if not possible:
            why = next(why for why in self._survey.ways.values() if isinstance(why, WhyNot))
            raise Unsupported(f"no control group can be made: {why.reason}", hint=why.hint or None)
        if not limits.wanted():
            return possible
        return {limit: way for limit, way in possible.items() if way.version == 2 or limit in limits.wanted()}

    def _group(self, key: str, ways: Mapping[Limit, Way]) -> Group:
        if not _KEY.match(key):
            raise InvalidInput(f"{key[:140]!r} is not the key of a control group")
        folders = {limit: way.base / self._name / key for limit, way in ways.items()}
        versions = {limit: way.version for limit in Limit if (way := self._survey.way(limit))}
        return Group(key, folders, versions)

    def _scopes(self) -> tuple[Path, ...]:
        ways = (self._survey.way(limit) for limit in Limit)
        return tuple(dict.fromkeys(way.base / self._name for way in ways if way is not None))

    def _prepare(self, limit: Limit, scope: Path) -> None:
        """Make the scope's own folder, whose children are to have the controller."""
        way = self._survey.way(limit)
        with suppress(FileExistsError):
            scope.mkdir()
        if way is not None and way.version == 2:
            for folder in (way.base, scope):
                if limit.value.encode() not in read(folder / "cgroup.subtree_control").split():
                    if way.leaf and folder == way.base:
                        _move_to_leaf(way.base)
                    write(folder / "cgroup.subtree_control", f"+{limit}")


def _move_to_leaf(base: Path) -> None:
    """Move the processes of the group that was given to us to a leaf of it: ours, and those that they started."""
    leaf = base / LEAF
    with suppress(FileExistsError):
        leaf.mkdir()
    for pid in parse_pids(read(base / "cgroup.procs")):
        try:
            write(leaf / "cgroup.procs", str(pid))
        except StorageError as error:
            if not isinstance(error.__cause__, ProcessLookupError):
                raise
