"""The records of all sandboxes: in memory to look at, in the state database to last; and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attrs import define, field

from monocore_core.model.record import SandboxRecord
from monocore_core.runtime.happenings import Happenings
from monocore_core.store.records import Records, match

_NOTHING: Mapping[str, object] = {}


@define(eq=False)
class Book:
    """Every sandbox of one home.

    Attributes:
        happenings: where changes are told.
    """

    happenings: Happenings
    _records: Records
    _known: dict[str, SandboxRecord] = field(factory=dict[str, SandboxRecord], init=False)
    _locks: dict[str, asyncio.Lock] = field(factory=dict[str, asyncio.Lock], init=False)

    def read(self) -> list[SandboxRecord]:
        """Take up what the database has, and give it."""
        records, _ = self._records.all()
        self._known = {record.id: record for record in records}
        return records

    @property
    def records(self) -> Records:
        """Where they last."""
        return self._records

    def all(self) -> list[SandboxRecord]:
        """Every record, the oldest first."""
        return list(self._known.values())

    def get(self, text: str) -> SandboxRecord:
        """The sandbox of that name, id, or beginning of an id.

        Raises:
            NotFound, InvalidInput: there is none, or several.
        """
        return match(self._known, text)

    def __contains__(self, identity: object) -> bool:
        return identity in self._known

    def now(self, record: SandboxRecord) -> SandboxRecord:
        """The record as it is now; as it was, when it has been removed."""
        return self._known.get(record.id, record)

    def add(self, record: SandboxRecord) -> None:
        """A new sandbox.

        Raises:
            Conflict: its name is in use.
        """
        self._records.add(record)
        self._known[record.id] = record
        self.tell(record, "created")

    def save(self, *records: SandboxRecord) -> None:
        """What has changed of one, or of several, all of it or nothing; one that was removed stays removed."""
        known = [record for record in records if record.id in self._known]
        self._known.update((record.id, record) for record in known)
        if known:
            self._records.save(*known)

    def show(self, record: SandboxRecord) -> None:
        """What has changed of one that need not outlast this process: it is written with the next change."""
        if record.id in self._known:
            self._known[record.id] = record

    def remove(self, record: SandboxRecord) -> None:
        """Forget one. A repeat does nothing."""
        self._records.remove(record.id)
        self._locks.pop(record.id, None)
        if self._known.pop(record.id, None) is not None:
            self.tell(record, "removed")

    def tell(self, record: SandboxRecord, kind: str, facts: Mapping[str, object] = _NOTHING) -> None:
        """Say what happened to one."""
        labels = {"labels": dict(record.order.labels)} if record.order.labels else {}
        self.happenings.tell(kind, record.id, record.name, {**facts, **labels})

    def tell_exit(self, record: SandboxRecord) -> None:
        """Say how one's run ended."""
        end = record.end
        if end is not None:
            facts = {"code": end.code, "reason": end.reason.value, "detail": end.detail}
            self.tell(record, "exited", {**facts, "stages": dict(record.stages)})

    def lock(self, record: SandboxRecord) -> asyncio.Lock:
        """Held by whoever starts or removes one."""
        return self._locks.setdefault(record.id, asyncio.Lock())
