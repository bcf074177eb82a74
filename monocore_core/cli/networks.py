"""Flags by which a sandbox asks for a network, and what they mean."""

from __future__ import annotations

import argparse

from monocore_core.cli import values
from monocore_core.cli.arguments import Parser, Value
from monocore_core.errors import InvalidInput
from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import DEFAULT_PROFILE, NO_NETWORK, PROFILES, parse_policy


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
    ]


def network_of(parsed: argparse.Namespace) -> NetworkRequest | None:
    """What the flags ask of a network, or None when they ask for none.

    Raises:
        ConfigError: with every rule that is not one; InvalidInput: ``none`` and something else of a network.
    """
    publish = tuple(one for several in parsed.publish for one in several)
    if parsed.policy == NO_NETWORK:
        if publish or parsed.rule:
            raise InvalidInput(
                "--policy none leaves no network for -p or --rule", hint="leave out one of them"
            )
        return None
    if not (publish or parsed.rule or parsed.policy):
        return None
    policy = parse_policy(parsed.policy or DEFAULT_PROFILE, parsed.rule)
    return NetworkRequest("", "", policy, publish)
