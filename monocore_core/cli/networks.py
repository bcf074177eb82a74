"""Flags by which a sandbox asks for a network; :mod:`.networking` says what they mean."""

from __future__ import annotations

import argparse

from monocore_core.cli.arguments import Parser, Value
from monocore_core.cli.later import later

#: What ``--policy`` may be: nothing, then the profiles of :mod:`monocore_core.model.policy`; and the one of who asks for a network only.
POLICIES = ("none", "local", "public", "all")
DEFAULT_POLICY = "public"
_READ, _PARTS = "monocore_core.notation.network", "monocore_core.cli.parts"


def asks_network(parsed: argparse.Namespace) -> bool:
    """Whether any flag here was given."""
    names = (
        "publish", "policy", "rule", "group", "ingress", "ip", "ip6", "dns", "dns_search", "download_rate", "upload_rate",
        "packet_rate", "mtu",
    )  # fmt: skip
    return any(getattr(parsed, name) for name in names)


def add_network(parser: Parser) -> list[argparse.Action]:
    """Declare the flags that :func:`.networking.network_of` reads."""
    group = parser.add_argument_group(
        "the network", f"none, unless one of these asks for it (then with the policy '{DEFAULT_POLICY}')"
    )
    add = group.add_argument
    return [
        add(
            "-p",
            "--publish",
            action=Value,
            parse=later(_PARTS, "parse_publish"),
            repeat=True,
            metavar="[[ADDRESS:]PORT:]PORT[/udp]",
            help="make a port of the guest reachable at the host",
        ),
        add(
            "--policy",
            choices=POLICIES,
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
            parse=later(_READ, "parse_group"),
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
            "--ip",
            action=Value,
            parse=later(_READ, "parse_ip4"),
            metavar="ADDRESS",
            help="IPv4 address of the sandbox",
        ),
        add(
            "--ip6",
            action=Value,
            parse=later(_READ, "parse_ip6"),
            metavar="ADDRESS",
            help="IPv6 address of the sandbox",
        ),
        add(
            "--dns",
            action=Value,
            parse=later(_READ, "parse_server"),
            repeat=True,
            metavar="ADDRESS",
            help="DNS server to ask instead of the host's (at most three)",
        ),
        add(
            "--dns-search",
            action=Value,
            parse=later(_READ, "parse_domain"),
            repeat=True,
            metavar="DOMAIN",
            help="domain in which short names are looked up",
        ),
        add(
            "--download-rate",
            action=Value,
            parse=later(_READ, "parse_rate"),
            metavar="RATE",
            help="most that it may receive: 10m (bytes a second), 100mbit",
        ),
        add(
            "--upload-rate",
            action=Value,
            parse=later(_READ, "parse_rate"),
            metavar="RATE",
            help="most that it may send",
        ),
        add(
            "--packet-rate",
            action=Value,
            parse=later(_READ, "parse_packets"),
            metavar="N",
            help="most packets a second, in each direction",
        ),
        add("--mtu", action=Value, parse=later(_READ, "parse_mtu"), metavar="BYTES", help="largest packet"),
    ]
