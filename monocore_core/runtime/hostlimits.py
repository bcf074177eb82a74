"""Limits of what a sandbox's VMM uses of the host: a control group of its own, for as long as it runs. All calls block, briefly."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from monocore_core.cgroups import Cgroups, Limit, Limits
from monocore_core.errors import MonocoreError
from monocore_core.model.record import HostLimits


class HostGroups:
    """The control groups of one home's sandboxes, by the sandboxes' ids.

    Args:
        home: gives the groups their scope.
        groups: to use instead of the host's.
    """

    def __init__(self, home: Path, groups: Cgroups | None = None) -> None:
        scope = hashlib.sha256(str(home).encode(errors="surrogateescape")).hexdigest()[:12]
        self._groups = groups if groups is not None else Cgroups(scope)

    def hold(self, sandbox: str, pid: int, limits: HostLimits) -> tuple[str, ...]:
        """Limit a process; gives a sentence for each limit that the host cannot enforce. Raises nothing.

        Args:
            sandbox: id.
            pid: of its VMM.
            limits: as ordered.
        """
        asked = {Limit.CPU: limits.cpu, Limit.PIDS: limits.pids}
        works = self._groups.what_works()
        lacks = [
            f"{limit} is not limited: {works[limit]}"
            for limit, value in asked.items()
            if value and works[limit]
        ]
        possible = Limits(
            cpu=limits.cpu or None if not works[Limit.CPU] else None,
            pids=limits.pids or None if not works[Limit.PIDS] else None,
        )
        if possible.wanted():
            try:
                self._groups.create(sandbox, possible).attach(pid)
            except MonocoreError as error:
                lacks.append(f"its VMM is not limited: {error.brief}")
                self.release(sandbox)
        return tuple(lacks)

    def release(self, sandbox: str) -> None:
        """Remove the group of a sandbox whose VMM has ended, with what is left in it. There need be none; raises nothing."""
        with suppress(MonocoreError):
            group = self._groups.find(sandbox)
            if group is not None:
                group.kill()
                group.remove()

    def sweep(self, known: Collection[str]) -> None:
        """Remove the groups of sandboxes that are not known to run."""
        with suppress(MonocoreError):
            self._groups.sweep(known)
