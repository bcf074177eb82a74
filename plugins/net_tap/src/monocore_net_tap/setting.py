"""How the keeper comes to its namespaces and its way out: the steps that are done on the host, before they are joined."""

from __future__ import annotations

import os
from contextlib import ExitStack
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from attrs import frozen

from monocore_net_tap import allocate, choice
from monocore_net_tap.holder import Holder, hold
from monocore_net_tap.hostwatch import HostWatch
from monocore_net_tap.options import TapOptions, UplinkKind
from monocore_net_tap.records import Records
from monocore_net_tap.resolver.hostconf import host_resolvers
from monocore_net_tap.uplink import Uplink
from monocore_net_tap.uplink.confine import Confinement
from monocore_net_tap.uplink.hosttable import HostEnd
from monocore_net_tap.uplink.none import NoUplink
from monocore_net_tap.uplink.pasta import PastaUplink
from monocore_net_tap.uplink.slirp import SlirpUplink
from monocore_net_tap.uplink.veth import VethUplink


@frozen
class Setting:
    """What the keeper works with, once it has joined the namespaces.

    Attributes:
        holder: of the namespaces.
        uplink: open, not yet entered.
        pools: that addresses come from.
        watch: of the host's addresses.
        home: names the monocore home.
    """

    holder: Holder
    uplink: Uplink
    pools: tuple[IPv4Network, IPv6Network]
    watch: HostWatch
    home: bytes


def prepare(state: Path, records: Records, options: TapOptions, confinement: Confinement) -> Setting:
    """Find or make everything, and join the namespaces.

    Raises:
        MonocoreError: something cannot be had.
    """
    rootless = os.geteuid() != 0
    home = os.fsencode(state.resolve())
    watch = HostWatch()
    taken = watch.networks()
    pool = _pool(records, options, taken)
    pools = (pool, allocate.pool6(home))
    kind, reason = choice.uplink(options.uplink, state, rootless=rootless)
    holder = records.holder()
    if holder is None or not holder.alive:
        holder = hold(records.set_holder, rootless=rootless)
    with ExitStack() as undo:
        undo.callback(abandon, holder, records)
        uplink = _open_uplink(
            kind, holder, state, pools, [*taken, pool], confinement=confinement, rootless=rootless
        )
        undo.callback(uplink.close)
        if reason:
            uplink.facts = (*uplink.facts, reason)
        holder.enter()
        uplink.enter()
        undo.pop_all()
    return Setting(holder, uplink, pools, watch, home)


def abandon(holder: Holder, records: Records) -> None:
    """End namespaces in which nobody is."""
    if not records.members():
        holder.end()
        records.set_holder(None)


def _pool(records: Records, options: TapOptions, taken: list[IPv4Network]) -> IPv4Network:
    if options.pool:
        pool = IPv4Network(options.pool)
        records.set_pool(pool)
        return pool
    known = records.pool()
    if known is not None and records.members():
        return known
    pool = allocate.choose_pool(taken)
    records.set_pool(pool)
    return pool


def _open_uplink(
    kind: UplinkKind,
    holder: Holder,
    state: Path,
    pools: tuple[IPv4Network, IPv6Network],
    taken: list[IPv4Network],
    *,
    confinement: Confinement,
    rootless: bool,
) -> Uplink:
    if kind is UplinkKind.NONE:
        return NoUplink()
    if kind is UplinkKind.VETH:
        end = HostEnd.of(os.fsencode(state.resolve()), *pools)
        return VethUplink(holder, end, host_resolvers())
    network = next(allocate.slirp_networks(taken))
    if kind is UplinkKind.PASTA:
        return PastaUplink(holder, state, network)
    return SlirpUplink(holder, state, network, confinement, rootless=rootless)
