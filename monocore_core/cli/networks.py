"""Flags by which a sandbox asks for a network, and what they mean."""

from __future__ import annotations

import argparse

from monocore_core.cli import values
from monocore_core.cli.arguments import Parser, Value
from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.network import MAX_SEARCH, MAX_SERVERS, Dns, Limits, NetworkRequest
from monocore_core.model.policy import (
    DEFAULT_PROFILE,
    NO_NETWORK,
    PROFILES,
    Policy,
    parse_ingress,
    parse_policy,
)
from monocore_core.notation import network as read


def add_network(parser: Parser) -> list[argparse.Action]:
    """Declare the flags that :func:`network_of` reads."""
    group = parser.add_argument_group(
        "the network", f"none, unless one of these asks for it (then with the policy '{DEFAULT_PROFILE}')"
    )
    add = group.add_argument
    return [
        add(
            "-p",
            "--publish",
            action=Value,
            parse=values.parse_publish,
            repeat=True,
            metavar="[[ADDRESS:]PORT:]PORT[/udp]",
            help="make a port of the guest reachable at the host",
        ),
        add(
            "--policy",
            choices=[NO_NETWORK, *PROFILES],
            help="what may be reached: nothing, the group, the public internet but neither the host nor its networks, or all",
        ),
        add(
            "--rule",
            action="append",
            default=[],
            metavar="RULE",
            help="before the policy's own, in order: 'allow tcp *.debian.org:80,443', 'deny 10.0.0.0/8'",
        ),
        add(
            "--group",
            action=Value,
            parse=read.parse_group,
            metavar="NAME",
            help="sandboxes of one group reach one another",
        ),
        add(
            "--ingress",
            action="append",
            default=[],
            metavar="RULE",
            help="what others of the group may reach here, in order, and nothing else: 'allow tcp any:5432'",
        ),
        add(
            "--ip", action=Value, parse=read.parse_ip4, metavar="ADDRESS", help="IPv4 address of the sandbox"
        ),
        add(
            "--ip6", action=Value, parse=read.parse_ip6, metavar="ADDRESS", help="IPv6 address of the sandbox"
        ),
        add(
            "--dns",
            action=Value,
            parse=read.parse_server,
            repeat=True,
            metavar="ADDRESS",
            help="DNS server to ask instead of the host's (at most three)",
        ),
        add(
            "--dns-search",
            action=Value,
            parse=read.parse_domain,
            repeat=True,
            metavar="DOMAIN",
            help="domain in which short names are looked up",
        ),
        add(
            "--download-rate",
            action=Value,
            parse=read.parse_rate,
            metavar="RATE",
            help="most that it may receive: 10m (bytes a second), 100mbit",
        ),
        add(
            "--upload-rate", action=Value, parse=read.parse_rate, metavar="RATE", help="most that it may send"
        ),
        add(
            "--packet-rate",
            action=Value,
            parse=read.parse_packets,
            metavar="N",
            help="most packets a second, in each direction",
        ),
        add("--mtu", action=Value, parse=read.parse_mtu, metavar="BYTES", help="largest packet"),
    ]


def network_of(parsed: argparse.Namespace) -> NetworkRequest | None:
    """What the flags ask of a network, or None when they ask for none.

    Raises:
        ConfigError: with every rule that is not one; InvalidInput: ``none`` and something else of a network.
    """
    publish = tuple(one for several in parsed.publish for one in several)
    limits = Limits(parsed.download_rate or 0, parsed.upload_rate or 0, parsed.packet_rate or 0)
    addresses = tuple(one for one in (parsed.ip, parsed.ip6) if one is not None)
    dns = _dns(parsed)
    asked = {
        "-p": publish,
        "--rule": parsed.rule,
        "--group": parsed.group,
        "--ingress": parsed.ingress,
        "--ip or --ip6": addresses,
        "--dns or --dns-search": dns != Dns(),
        "a rate": limits,
        "--mtu": parsed.mtu,
    }
    flags = [flag for flag, value in asked.items() if value]
    if parsed.policy == NO_NETWORK:
        if flags:
            raise InvalidInput(
                f"--policy none leaves no network for {flags[0]}", hint="leave out one of them"
            )
        return None
    if not (flags or parsed.policy):
        return None
    return NetworkRequest(
        group=parsed.group or "",
        hostname="",
        policy=parse_policy(parsed.policy or DEFAULT_PROFILE, parsed.rule),
        publish=publish,
        ingress=_ingress(parsed.ingress),
        dns=dns,
        limits=limits,
        mtu=parsed.mtu or 0,
        addresses=addresses,
    )


def _ingress(rules: list[str]) -> Policy | None:
    try:
        return parse_ingress(rules) if rules else None
    except ConfigError:
        raise
    except InvalidInput as error:
        raise InvalidInput(f"--ingress {error.brief}", hint=error.hint) from error


def _dns(parsed: argparse.Namespace) -> Dns:
    servers, search = tuple(parsed.dns), tuple(parsed.dns_search)
    if len(servers) > MAX_SERVERS or len(search) > MAX_SEARCH:
        raise InvalidInput(
            f"a guest has at most {MAX_SERVERS} DNS servers and {MAX_SEARCH} search domains",
            hint="leave some out",
        )
    return Dns(servers, search)
