"""What there is beside what shall be, and what it takes to get from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from attrs import frozen

from monocore_core.model.record import SandboxRecord, SandboxState
from monocore_core.orchestrator.labels import Labels, labels_of
from monocore_core.orchestrator.restarting import failed


class Action(StrEnum):
    """What is done with one instance."""

    KEEP = "keep"
    """It is as it shall be."""
    START = "start"
    """It is as it shall be, and does not run."""
    CREATE = "create"
    """There is none yet."""
    REPLACE = "replace"
    """It is of an earlier configuration, or of another image: it is removed, and made anew."""
    REMOVE = "remove"
    """It is one too many: there are fewer replicas now."""


@frozen
class Desired:
    """One instance as it shall be.

    Attributes:
        name: of its sandbox.
        service: that it is of.
        replica: its number, from 1.
        config_hash: of its configuration.
        image: digest of its image.
    """

    name: str
    service: str
    replica: int
    config_hash: str
    image: str


@frozen
class Existing:
    """One instance as it is.

    Attributes:
        id: of its sandbox.
        name: of its sandbox.
        labels: what its sandbox says of it.
        image: digest of the image that it was ordered to be made of.
        live: whether it runs, or is on its way up or down.
        completed: when it ran to its own end, with 0, seconds since the epoch; else 0.
        created: when it was made, seconds since the epoch.
    """

    id: str
    name: str
    labels: Labels
    image: str
    live: bool
    completed: float = 0.0
    created: float = 0.0


@frozen
class Step:
    """What is done with one instance, and why."""

    action: Action
    name: str
    why: str
    desired: Desired | None = None
    existing: Existing | None = None


def existing_of(records: Iterable[SandboxRecord], project: str) -> tuple[Existing, ...]:
    """The instances of a project, by what their sandboxes' records say."""
    found: list[Existing] = []
    for record in records:
        labels = labels_of(record.order.labels)
        if labels is not None and labels.project == project:
            image = record.order.sandbox.image
            found.append(
                Existing(
                    record.id,
                    record.name,
                    labels,
                    image,
                    record.state.live,
                    _completed(record),
                    record.created,
                )
            )
    return tuple(found)


def _completed(record: SandboxRecord) -> float:
    end = record.end
    if record.state is not SandboxState.EXITED or end is None or record.requested or failed(end):
        return 0.0
    return end.time


def converge(
    desired: Sequence[Desired],
    existing: Sequence[Existing],
    *,
    recreate: float | None = None,
    afresh: float | None = None,
) -> tuple[Step, ...]:
    """The steps for the instances of one service; of those that are kept, too.

    Args:
        desired: as they shall be.
        existing: as they are; all of the service, and no others.
        recreate: replace what was made before this time (seconds since the epoch), even if it is as it shall be.
        afresh: what completed before this time (seconds since the epoch) is started again; None: nothing that completed is.
    """
    found = {one.name: one for one in existing}
    steps = [_step(wanted, found.get(wanted.name), recreate=recreate, afresh=afresh) for wanted in desired]
    names = {wanted.name for wanted in desired}
    extra = (one for one in existing if one.name not in names)
    return (
        *steps,
        *(Step(Action.REMOVE, one.name, "there are fewer replicas", existing=one) for one in extra),
    )


def orphans(existing: Iterable[Existing], services: Iterable[str]) -> tuple[Existing, ...]:
    """Instances of services that the project has no more."""
    known = frozenset(services)
    return tuple(one for one in existing if one.labels.service not in known)


def _step(wanted: Desired, found: Existing | None, *, recreate: float | None, afresh: float | None) -> Step:
    if found is None:
        return Step(Action.CREATE, wanted.name, "there is none", wanted)
    if why := _outdated(wanted, found, recreate):
        return Step(Action.REPLACE, wanted.name, why, wanted, found)
    if found.live:
        return Step(Action.KEEP, wanted.name, "it runs, unchanged", wanted, found)
    if found.completed > (afresh or 0.0):
        return Step(Action.KEEP, wanted.name, "it has completed", wanted, found)
    return Step(Action.START, wanted.name, "it does not run", wanted, found)


def _outdated(wanted: Desired, found: Existing, recreate: float | None) -> str:
    """Why an instance is to be replaced, or ""."""
    if recreate is not None and found.created < recreate:
        return "it was asked for"
    if found.labels.config_hash != wanted.config_hash:
        return "its configuration has changed"
    return "its image has changed" if found.image != wanted.image else ""
