"""``monocore network``: what running sandboxes are connected to, what they reach, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from monocore_core.cli import explain
from monocore_core.cli.actions import act
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.failures import clean, for_each, warn
from monocore_core.cli.globals import Globals
from monocore_core.cli.opening import open_supply, settings_for
from monocore_core.cli.reach import api_of, remote_of
from monocore_core.cli.render import Json, print_json, print_table
from monocore_core.client.api import target
from monocore_core.client.remote import Remote
from monocore_core.client.tables import tables, text
from monocore_core.errors import InvalidInput, NotFound
from monocore_core.inventory import network_details
from monocore_core.model.events import Event, Warned
from monocore_core.model.network import NetworkStatus
from monocore_core.model.policy import Address
from monocore_core.serde import structure

#: A sandbox on its network: the network's name, what it knows, and the sandbox's name for people.
_Found = tuple[str, NetworkStatus, str]


def main(words: list[str], options: Globals) -> int:
    """Run ``network [ls|inspect|explain] …``; without a word, or with flags only, ``ls``."""
    actions = {
        "ls": _list,
        "list": _list,
        "inspect": _inspect,
        "explain": _explain,
    }
    return act("network", actions, words, options)


def _list(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore network",
        "List the running sandboxes that have a network. Also: network inspect SANDBOX…, network explain SANDBOX [DESTINATION…].",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_globals(parser)
    parsed = parser.flags(words, options)
    found = _all(options)
    if parsed.json:
        print_json([network_details(*each) for each in found])
    elif parsed.quiet:
        for _, status, _ in found:
            print(status.key)
    else:
        head = ("SANDBOX", "NAME", "NETWORK", "GROUP", "ADDRESS", "POLICY", "PORTS")
        print_table(head, [_row(each) for each in found])
    return 0


def _inspect(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore network inspect", "Show everything that networks know of sandboxes, as a JSON list."
    )
    parser.add_argument("names", nargs="+", metavar="SANDBOX", help="id, the beginning of one, or name")
    parser.add_argument("--json", action="store_true", help="as JSON (always so)")
    add_globals(parser)
    parsed = parser.flags(words, options)
    known, found = _all(options), list[Json]()
    status = for_each(
        parsed.names, lambda name: found.append(network_details(*_find(known, name))), debug=options.debug
    )
    print_json(found)
    return status


def _explain(words: list[str], options: Globals) -> int:
    parser = Parser(
        "monocore network explain",
        "Tell what a sandbox may reach and what it was denied; of a DESTINATION, which rule decides: [tcp/|udp/|icmp/]ADDRESS[:PORT].",
    )
    parser.add_argument("name", metavar="SANDBOX", help="id, the beginning of one, or name")
    parser.add_argument("destinations", nargs="*", metavar="DESTINATION", help="for example tcp/1.2.3.4:443")
    add_globals(parser)
    parsed = parser.flags(words, options)
    known = _all(options)
    backend, status, name = _find(known, parsed.name)
    if parsed.destinations:
        group = _group(known, status)
        return for_each(
            parsed.destinations,
            lambda text: print(explain.decision(status, group, text)),
            debug=options.debug,
        )
    for line in explain.lines(backend, status, name):
        indent = line[: len(line) - len(line.lstrip())]
        print(f"{indent}{clean(line)}" if line.strip() else "")
    return 0


def _all(options: Globals) -> list[_Found]:
    remote = remote_of(options)
    return asyncio.run(_ask(options)) if remote is None else _there(remote)


def _there(remote: Remote) -> list[_Found]:
    """What a daemon elsewhere tells.

    Raises:
        ConfigError: it makes no sense to this version.
    """
    found: list[_Found] = []
    for each in tables(api_of(remote).call("GET", target("networks")), "networks"):
        plain = {key: value for key, value in each.items() if key not in ("name", "network")}
        status = structure(plain, NetworkStatus, f"the answer of {remote.url}")
        found.append((text(each, "network"), status, text(each, "name")))
    return found


async def _ask(options: Globals) -> list[_Found]:
    async with open_supply(settings_for(options), _warn) as supply:
        names = {lease.key: lease.name for lease in supply.store.leases()}
        return [(backend, status, names.get(status.key, "")) for backend, status in await supply.networks()]


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        warn(f"warning: {event.text}")


def _find(known: Sequence[_Found], word: str) -> _Found:
    """By the id, the name, or the beginning of the id."""
    exact = [each for each in known if word in (each[1].key, each[2])]
    found = exact or [each for each in known if word and each[1].key.startswith(word)]
    if not found:
        raise NotFound(
            f"no running sandbox {word[:80]!r} has a network", hint="'monocore network ls' lists them"
        )
    if len(found) > 1:
        raise InvalidInput(
            f"{word[:80]!r} is the beginning of {len(found)} sandboxes' ids", hint="give more of it"
        )
    return found[0]


def _group(known: Sequence[_Found], status: NetworkStatus) -> frozenset[Address]:
    if not status.request.group:
        return frozenset()
    return frozenset(
        address.ip
        for _, other, _ in known
        if other.request.group == status.request.group and other.key != status.key and other.connection.guest
        for address in other.connection.guest.addresses
    )


def _row(found: _Found) -> tuple[str, ...]:
    backend, status, name = found
    guest = status.connection.guest
    policy = status.request.policy
    return (
        status.key,
        name or "-",
        backend,
        status.request.group or "-",
        str(guest.addresses[0].ip) if guest and guest.addresses else "-",
        policy.name or f"{len(policy.rules)} rules",
        ", ".join(map(str, status.connection.published)) or "-",
    )
