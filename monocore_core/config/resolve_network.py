"""What a service asks of a network: its ports, and its policy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

from attrs import evolve

from monocore_core.config.service_tables import NetworkTable, ServiceTable
from monocore_core.config.tree import Node, Problems
from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.network import MAX_SEARCH, MAX_SERVERS, Dns, Limits, Publish
from monocore_core.model.policy import (
    DEFAULT_PROFILE,
    NO_NETWORK,
    PROFILES,
    Policy,
    Rule,
    parse_ingress,
    parse_policy,
)
from monocore_core.model.service import Group, ServiceNetwork
from monocore_core.notation.network import parse_domain, parse_server

T = TypeVar("T")

LOOPBACK = IPv4Address("127.0.0.1")
LOCAL = "local"


def ports_of(table: ServiceTable, group: Group | None) -> tuple[Publish, ...]:
    """The ports; without an address those of a local group are at the loopback."""
    entries = table.port if isinstance(table.port, tuple) else (table.port,)
    found: list[Publish] = []
    for entry in entries:
        at_home = group is not None and group.local_only and not entry.addressed
        found += (evolve(one, address=LOOPBACK) if at_home else one for one in entry.publish)
    return tuple(found)


def network_of(
    table: ServiceTable, node: Node, group: Group | None, ports: Sequence[Publish], problems: Problems
) -> ServiceNetwork | None:
    """The network, or None for no network device."""
    wanted = NetworkTable(table.network) if isinstance(table.network, str) else table.network
    policy = _profile(table, wanted, group, ports)
    if policy is None:
        return None
    place = node.at("network", "policy") if not isinstance(table.network, str) else node.at("network")
    if policy == NO_NETWORK:
        if ports or wanted not in (None, NetworkTable(policy)):
            what = "ports" if ports else "the other keys of 'network'"
            problems.add_about(place, f"network policy 'none' leaves no network for {what}")
        return None
    if policy not in PROFILES:
        known = ", ".join((NO_NETWORK, *PROFILES))
        problems.add_about(place, f"network policy {policy[:60]!r}, which there is not (there are: {known})")
        return None
    return _network(wanted or NetworkTable(), policy, node, problems)


def _profile(
    table: ServiceTable, wanted: NetworkTable | None, group: Group | None, ports: Sequence[Publish]
) -> str | None:
    """The name of the policy; None where nothing asks for a network."""
    if wanted is not None and wanted.policy is not None:
        return wanted.policy
    if group is not None:
        return LOCAL if group.local_only else DEFAULT_PROFILE
    return DEFAULT_PROFILE if wanted is not None or ports or table.group else None


def _network(wanted: NetworkTable, profile: str, node: Node, problems: Problems) -> ServiceNetwork:
    policy = PROFILES[profile]
    ingress: Policy | None = None
    rules = _each(wanted.rules, "rules", node, problems, Rule.parse)
    admitted = _each(wanted.ingress, "ingress", node, problems, Rule.parse)
    try:
        policy = parse_policy(profile, [str(rule) for rule in rules])
        ingress = parse_ingress([str(rule) for rule in admitted]) if wanted.ingress else None
    except ConfigError as error:  # before its base class: the number of rules is what is left to be wrong
        for text in error.problems:
            problems.add(node.at("network"), text)
    except InvalidInput as error:
        problems.refused(node.at("network", "ingress"), error)
    servers = _each(wanted.dns, "dns", node, problems, parse_server)
    search = _each(wanted.dns_search, "dns_search", node, problems, parse_domain)
    for key, found, most in (("dns", servers, MAX_SERVERS), ("dns_search", search, MAX_SEARCH)):
        if len(found) > most:
            problems.add(node.at("network", key), f"a guest has at most {most}")
    return ServiceNetwork(
        policy,
        ingress,
        Dns(servers[:MAX_SERVERS], search[:MAX_SEARCH]),
        Limits(wanted.download or 0, wanted.upload or 0, wanted.packets or 0),
        wanted.mtu or 0,
    )


def _each(
    texts: Sequence[str], key: str, node: Node, problems: Problems, parse: Callable[[str], T]
) -> tuple[T, ...]:
    """Each text parsed; those that cannot be are told."""
    found: list[T] = []
    for number, text in enumerate(texts):
        try:
            found.append(parse(text))
        except InvalidInput as error:
            problems.refused(node.at("network", key, number), error)
    return tuple(found)
