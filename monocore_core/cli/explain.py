"""What a network knows of a sandbox, in a person's words. Pure, but for asking the kernel which addresses are this host's."""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterator
from ipaddress import ip_address

from monocore_core.cli.render import human_age, human_size
from monocore_core.errors import InvalidInput
from monocore_core.model.network import NetworkStatus
from monocore_core.model.policy import MAX_PORT, Action, Address, Destination, Domain, Policy, Protocol

_FORM = "[tcp/|udp/|icmp/]ADDRESS-OR-NAME[:PORT], for example tcp/1.2.3.4:443"
_DESTINATION = re.compile(
    r"(?:(tcp|udp|icmp)/)?(\[[0-9a-fA-F:.]+\]|[^\[\]/:\s]+)(?::([0-9]{1,5}))?", re.ASCII
)


def lines(backend: str, status: NetworkStatus, name: str) -> Iterator[str]:
    """The whole of one sandbox."""
    request, guest = status.request, status.connection.guest
    called = f" ({name})" if name else ""
    yield f"{status.key}{called}, on {backend}"
    facts = [("group", request.group or "none"), ("hostname", request.hostname)]
    if guest is not None:
        facts.append(("addresses", ", ".join(str(each.ip) for each in guest.addresses)))
        facts.append(
            ("DNS", ", ".join([*guest.nameservers, *(f"for {server}" for server in request.dns.servers)]))
        )
        facts.append(("MTU", str(guest.mtu)))
    facts += [("published", str(each)) for each in status.connection.published]
    facts += _limits(status)
    for what, value in (*facts, *status.facts):
        if value:
            yield f"  {what + ':':<12} {value}"
    yield ""
    yield f"May reach{_profile(request.policy)}:"
    yield from _rules(request.policy)
    yield ""
    if request.ingress is None:
        yield (
            "Others of the group may reach here: everything that their own policies allow"
            if request.group
            else "It is alone."
        )
    else:
        yield "Others of the group may reach here:"
        yield from _rules(request.ingress)
    yield from _events(status)


def decision(status: NetworkStatus, group: Collection[Address], text: str) -> str:
    """What becomes of packets to a destination, and by which rule.

    Args:
        status: of the sandbox that sends.
        group: addresses of the other members of its group.
        text: the destination.

    Raises:
        InvalidInput: it is none.
    """
    match = _DESTINATION.fullmatch(text)
    if match is None or int(match[3] or 0) > MAX_PORT:
        raise InvalidInput(f"{text[:80]!r} is not a destination", hint=_FORM)
    protocol = Protocol(match[1] or "tcp")
    word, port = match[2].strip("[]"), int(match[3] or 0)
    if protocol is not Protocol.ICMP and not port:
        raise InvalidInput(f"{text[:80]!r} names no port", hint=_FORM)
    policy = status.request.policy
    try:
        address = ip_address(word)
    except ValueError:
        return _of_name(policy, word, protocol, port)
    names = frozenset(name for name, opened, _ in status.resolved if opened == str(address))
    destination = Destination(
        address,
        protocol,
        port,
        names,
        group=address in group,
        host=_is_ours(address) and address not in group,
    )
    action, rule = policy.decide(destination)
    return _verdict(action, str(rule) if rule else f"{policy.default} any", text)


def _of_name(policy: Policy, name: str, protocol: Protocol, port: int) -> str:
    for rule in policy.rules:
        named = isinstance(rule.target, Domain) and rule.target.matches(name)
        ports = not rule.ports or any(each.first <= port <= each.last for each in rule.ports)
        if named and ports and rule.protocol in (Protocol.ANY, protocol):
            return _verdict(rule.action, str(rule), name)
    return f"No rule names {name}: the rules over addresses decide once it is resolved."


def _verdict(action: Action, rule: str, what: str) -> str:
    return f"{'Allowed' if action is Action.ALLOW else 'Denied'}: {what}, by the rule '{rule}'."


def _rules(policy: Policy) -> Iterator[str]:
    for number, rule in enumerate(policy.rules, start=1):
        yield f"  {number:>2}  {rule}"
    yield f"      {policy.default} any"


def _profile(policy: Policy) -> str:
    return f" (policy {policy.name})" if policy.name else ""


def _limits(status: NetworkStatus) -> list[tuple[str, str]]:
    limits = status.request.limits
    found = [
        ("download", f"at most {human_size(limits.download)} a second" if limits.download else ""),
        ("upload", f"at most {human_size(limits.upload)} a second" if limits.upload else ""),
        ("packets", f"at most {limits.packets} a second in each direction" if limits.packets else ""),
    ]
    traffic = status.traffic
    if traffic is not None:
        found += [
            ("received", f"{human_size(traffic.received_bytes)} in {traffic.received_packets} packets"),
            ("sent", f"{human_size(traffic.sent_bytes)} in {traffic.sent_packets} packets"),
            ("denied", f"{traffic.denied_packets} packets"),
        ]
    return found


def _events(status: NetworkStatus) -> Iterator[str]:
    if status.resolved:
        yield ""
        yield "Open by name:"
        for name, address, left in status.resolved:
            yield f"  {name} = {address}, for {left} s"
    if status.refusals:
        yield ""
        yield "Denied lately:"
        for each in status.refusals:
            port = f":{each.port}" if each.port else ""
            times = f", {each.count} times" if each.count > 1 else ""
            yield f"  {each.protocol} to {each.destination}{port} ({each.rule}), {human_age(each.time)}{times}"


def _is_ours(address: Address) -> bool:
    """Whether the kernel lets us bind to it: it is an address of this host."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
