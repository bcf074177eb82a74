"""What the flags of :mod:`.networks` ask of a network, as the model has it."""

from __future__ import annotations

import argparse

from monocore_core.errors import ConfigError, InvalidInput
from monocore_core.model.network import MAX_SEARCH, MAX_SERVERS, Dns, Limits, NetworkRequest
from monocore_core.model.policy import DEFAULT_PROFILE, NO_NETWORK, Policy, parse_ingress, parse_policy


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
