"""What a client may have made: within its groups and its quota, and nothing of the host that its token does not give."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from monocore_core.errors import LimitExceeded, Unauthorized
from monocore_core.model.access import OWNER, Access, Quota, Scope
from monocore_core.model.record import SandboxOrder, SandboxRecord, SettingsSource
from monocore_core.model.volume import VolumeKind
from monocore_core.orchestrator.labels import GROUP
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.access import group_of
from monocore_core.sources import Schemes

#: Label of what a token has made: its id. Nobody but the daemon sets it.
TOKEN = "monocore.token"  # noqa: S105 - a label's name


def create_for(sandboxes: Sandboxes, access: Access, order: SandboxOrder) -> SandboxRecord:
    """Write a sandbox down for who may have it. The one way by which routes make sandboxes.

    Raises:
        Unauthorized: its token does not give what it asks for. LimitExceeded: its quota is used up.
        Conflict: the name is in use.
    """
    schemes = Schemes.installed(sandboxes.engines.plugins)
    # nothing is awaited between the count and the record
    return sandboxes.create(admit(access, order, sandboxes.all(), schemes))


def admit(
    access: Access, order: SandboxOrder, records: Iterable[SandboxRecord], schemes: Schemes
) -> SandboxOrder:
    """The order as it may be carried out. Pure.

    Raises:
        Unauthorized, LimitExceeded: as :func:`create_for`.
    """
    if access == OWNER:
        return order
    if not access.scope.includes(Scope.ADMIN):
        _refuse_host(access, order, schemes)
    if access.groups:
        order = _grouped(access, order)
    _refuse_excess(access, order, records)
    lifetime = access.quota.lifetime
    if lifetime:
        order = evolve(order, timeout=min(order.timeout or lifetime, lifetime))
    return evolve(order, labels={**order.labels, TOKEN: access.who})


def _refuse_host(access: Access, order: SandboxOrder, schemes: Schemes) -> None:
    """Of the host nothing: no folders or files, no settings of one's own, which may name any."""
    if order.settings != SettingsSource():
        raise Unauthorized("settings of its own need a token of scope admin")
    for volume in order.sandbox.volumes:
        if volume.kind is VolumeKind.HOST:
            raise Unauthorized(f"the host's {volume.source[:200]} needs a token of scope admin")
        if volume.kind is VolumeKind.NAMED and access.groups:
            raise Unauthorized(f"the token is limited to groups, and volume {volume.source} is in none")
    if schemes.is_local(order.sandbox.image):
        raise Unauthorized(
            f"image {order.sandbox.image[:200]!r} is a file of the host's, which needs a token of scope admin"
        )


def _grouped(access: Access, order: SandboxOrder) -> SandboxOrder:
    if not group_of(order) and len(access.groups) == 1:
        order = evolve(order, labels={**order.labels, GROUP: access.groups[0]})
    if group_of(order) not in access.groups:
        raise Unauthorized(
            f"group {group_of(order)[:80]!r} is none of the token's",
            hint=f"they are {', '.join(access.groups)}",
        )
    return order


def _refuse_excess(access: Access, order: SandboxOrder, records: Iterable[SandboxRecord]) -> None:
    quota: Quota = access.quota
    mine = [record.order.sandbox for record in records if record.order.labels.get(TOKEN) == access.who]
    mine.append(order.sandbox)
    for what, most, used in (
        ("sandboxes", quota.sandboxes, len(mine)),
        ("vCPUs", quota.vcpus, sum(one.vcpus for one in mine)),
        ("bytes of memory", quota.memory, sum(one.memory for one in mine)),
    ):
        if most and used > most:
            raise LimitExceeded(
                f"the quota of the token is {most} {what}, and with this one it would have {used}",
                hint="remove sandboxes: those that have exited count, too",
            )
