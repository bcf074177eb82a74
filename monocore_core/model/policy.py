"""What a sandbox may reach, as an ordered list of rules. Pure: parsed, validated, printed, decided.

The first rule that matches a packet's destination decides; where none does, the policy's default. A rule's text is::

    allow|deny [tcp|udp|icmp] TARGET[:PORT[-PORT][,PORT…]]

``TARGET`` is ``any``, ``group`` (the other members of the sandbox's group), ``host`` (every address of the host), ``private`` (what is not the
public internet: :data:`PRIVATE`), an address, a network (``10.0.0.0/8``, ``[fd00::]/8``), or a name (``example.com``, ``*.example.com``
for everything below it). Examples: ``allow tcp *.debian.org:80,443``, ``deny 10.0.0.0/8``, ``allow udp [2001:db8::1]:53``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import evolve, field, frozen

from monocore_core.errors import ConfigError, InvalidInput

#: Rules of one policy.
MAX_RULES = 256
#: Ports and ranges of one rule.
MAX_PORTS = 32
MAX_PORT = 65535

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

#: Everything that is not a public unicast address: the special-purpose registries (RFC 6890) and multicast. The cloud's
#: metadata services are in it (169.254.169.254, fd00:ec2::254), carrier-grade NAT is (100.64.0.0/10), and whatever maps to IPv4.
PRIVATE: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "::1/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
        "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?\Z")
_FORM = "allow|deny [tcp|udp|icmp] TARGET[:PORTS], for example 'allow tcp *.debian.org:80,443'"


class Action(StrEnum):
    """What becomes of a packet."""

    ALLOW = "allow"
    DENY = "deny"


class Protocol(StrEnum):
    """Of a packet; ``ANY`` in a rule is all of them."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


class Place(StrEnum):
    """Targets that have a name of ours."""

    ANY = "any"
    GROUP = "group"
    HOST = "host"
    PRIVATE = "private"


_ACTIONS = frozenset(action.value for action in Action)
_PROTOCOLS = frozenset(protocol.value for protocol in Protocol)
_PLACES = frozenset(place.value for place in Place)


@frozen
class Domain:
    """A name, in lower case without a final dot; ``below``: every name below it instead (``*.``)."""

    name: str
    below: bool = False

    def matches(self, name: str) -> bool:
        """Whether a name that was asked for is meant."""
        plain = name.lower().rstrip(".")
        return plain.endswith(f".{self.name}") if self.below else plain == self.name

    def __str__(self) -> str:
        return f"*.{self.name}" if self.below else self.name


Target = Place | IPv4Network | IPv6Network | Domain


@frozen
class Ports:
    """From ``first`` to ``last``, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@frozen
class Rule:
    """One rule; ``ports`` empty means every port."""

    action: Action
    target: Target
    protocol: Protocol = Protocol.ANY
    ports: tuple[Ports, ...] = ()

    def __str__(self) -> str:
        words = [self.action.value]
        if self.protocol is not Protocol.ANY:
            words.append(self.protocol.value)
        words.append(_target_text(self.target, ports=",".join(map(str, self.ports))))
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """The rule that a text means, see the module.

        Raises:
            InvalidInput: it means none.
        """
        words = text.split()
        if len(words) not in (2, 3) or words[0].lower() not in _ACTIONS:
            raise InvalidInput(f"{text[:120]!r} is not a rule", hint=_FORM)
        action, *rest = words
        target, ports = _parse_target(rest[-1], text)
        protocol = Protocol.ANY
        if len(rest) == 2:
            if rest[0].lower() not in _PROTOCOLS:
                raise InvalidInput(f"rule {text[:120]!r}: {rest[0]!r} is not a protocol", hint=_FORM)
            protocol = Protocol(rest[0].lower())
        if ports and protocol is Protocol.ICMP:
            raise InvalidInput(f"rule {text[:120]!r}: ICMP has no ports", hint=_FORM)
        return cls(Action(action.lower()), target, protocol, ports)


@frozen
class Destination:
    """Where a packet goes, as far as rules look at it.

    Attributes:
        address: of the other end.
        protocol: not ``ANY``.
        port: of the other end; 0 for ICMP.
        names: under which the sandbox learnt the address from our resolver.
        group: whether the address is another member's.
        host: whether it is one of the host's.
    """

    address: Address
    protocol: Protocol
    port: int = 0
    names: frozenset[str] = frozenset()
    group: bool = False
    host: bool = False


@frozen(cache_hash=True)
class Policy:
    """Rules in order, and what happens where none matches.

    Attributes:
        rules: the first that matches decides.
        default: where none does.
        name: of the profile that it began with, or "".
    """

    rules: tuple[Rule, ...] = ()
    default: Action = Action.DENY
    name: str = field(default="", eq=False)

    def decide(self, destination: Destination) -> tuple[Action, Rule | None]:
        """What becomes of a packet, and the rule that says so. The reference by which backends are tested."""
        for rule in self.rules:
            if _matches(rule, destination):
                return rule.action, rule
        return self.default, None

    def lines(self) -> list[str]:
        """For people, a rule a line, the default last."""
        return [*map(str, self.rules), f"{self.default} any"]


_MEMBERS = Rule(Action.ALLOW, Place.GROUP)
_NOT_US = (Rule(Action.DENY, Place.HOST), Rule(Action.DENY, Place.PRIVATE))
#: Names are resolved by the network's own resolver alone, or rules over names would say nothing: DNS, and DNS over TLS and QUIC.
_NO_OTHER_DNS = Rule(Action.DENY, Place.ANY, ports=(Ports(53, 53), Ports(853, 853)))

#: Policies by name. ``none`` is no network at all, and has no policy.
PROFILES = {
    "local": Policy((_MEMBERS,), Action.DENY, "local"),
    "public": Policy((_MEMBERS, *_NOT_US, _NO_OTHER_DNS), Action.ALLOW, "public"),
    "all": Policy((), Action.ALLOW, "all"),
}
#: What a sandbox gets that asks for a network and says no more.
DEFAULT_PROFILE = "public"
#: The profile without a network.
NO_NETWORK = "none"


def parse_policy(profile: str, rules: Sequence[str] = ()) -> Policy:
    """A profile with rules of one's own before its rules.

    Rules over names hold only where the sandbox asks the network's own resolver: with one of them, and everything else allowed, other DNS
    servers are denied after the rules of one's own.

    Args:
        profile: one of :data:`PROFILES`.
        rules: texts, in order.

    Raises:
        ConfigError: with everything that is wrong.
    """
    problems: list[str] = []
    base = PROFILES.get(profile)
    if base is None:
        problems.append(f"{profile[:60]!r} is not a network policy (there are: {', '.join(PROFILES)})")
    if len(rules) > MAX_RULES:
        problems.append(f"{len(rules)} rules are more than the {MAX_RULES} of one policy")
    parsed: list[Rule] = []
    for number, text in enumerate(rules[:MAX_RULES], start=1):
        try:
            parsed.append(Rule.parse(text))
        except InvalidInput as error:
            problems.append(f"rule {number}: {error.brief}")
    if problems or base is None:
        raise ConfigError("the network policy is not valid", problems=tuple(problems), hint=_FORM)
    named = any(isinstance(rule.target, Domain) for rule in parsed)
    guard = (_NO_OTHER_DNS,) if named and base.default is Action.ALLOW else ()
    rules_of_base = (*base.rules, *(rule for rule in guard if rule not in base.rules))
    return Policy((*parsed, *rules_of_base), base.default, base.name)


def parse_ingress(rules: Sequence[str]) -> Policy:
    """What may come in: the rules, and nothing else. Who comes is told by address, as names are what a sandbox looks up.

    Raises:
        ConfigError: with every rule that is none; InvalidInput: a rule is about a name.
    """
    policy = evolve(parse_policy("all", rules), default=Action.DENY, name="")
    for rule in policy.rules:
        if isinstance(rule.target, Domain):
            raise InvalidInput(f"'{rule}': a name cannot come in", hint="any, group, or an address")
    return policy


def _matches(rule: Rule, destination: Destination) -> bool:
    if rule.protocol not in (Protocol.ANY, destination.protocol):
        return False
    port = 0 if destination.protocol is Protocol.ICMP else destination.port
    if rule.ports and not any(ports.first <= port <= ports.last for ports in rule.ports):
        return False
    if isinstance(rule.target, Domain):
        return any(map(rule.target.matches, destination.names))
    if not isinstance(rule.target, Place):
        return contains((rule.target,), destination.address)
    return {
        Place.ANY: True,
        Place.GROUP: destination.group,
        Place.HOST: destination.host,
        Place.PRIVATE: contains(PRIVATE, destination.address),
    }[rule.target]


def contains(networks: Iterable[Network], address: Address) -> bool:
    """Whether any of the networks has the address."""
    return any(network.version == address.version and address in network for network in networks)


def _parse_target(word: str, text: str) -> tuple[Target, tuple[Ports, ...]]:
    target, ports = word, ""
    if word.startswith("[") and "]" in word:  # [fd00::1]:53, [fd00::]/8
        inside, _, rest = word[1:].partition("]")
        length, colon, ports = rest.partition(":")
        if (length and not length.startswith("/")) or (colon and not ports):
            raise InvalidInput(f"rule {text[:120]!r}: {word[:80]!r} is not a target", hint=_FORM)
        target = inside + length
    elif word.count(":") == 1:
        target, _, ports = word.partition(":")
        if not ports:
            raise InvalidInput(f"rule {text[:120]!r}: {word[:80]!r} names no port", hint=_FORM)
    return _target(target.lower(), text), _ports(ports, text)


def _target(word: str, text: str) -> Target:
    if word in _PLACES:
        return Place(word)
    try:
        return ip_network(word, strict=False) if "/" in word else ip_network(ip_address(word))
    except ValueError:
        pass
    numeric = word.replace(".", "").replace("/", "").isdigit()
    if "/" in word or ":" in word or numeric or len(word) > 253 or not _DOMAIN.match(word):
        raise InvalidInput(
            f"rule {text[:120]!r}: {word[:80]!r} is neither an address, a network nor a name", hint=_FORM
        )
    name = word.rstrip(".")
    return Domain(name.removeprefix("*."), below=name.startswith("*."))


def _ports(text: str, rule: str) -> tuple[Ports, ...]:
    found: list[Ports] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= MAX_PORT:
            raise InvalidInput(f"rule {rule[:120]!r}: {part[:40]!r} is not a port or a range", hint=_FORM)
        found.append(Ports(first, last))
    if len(found) > MAX_PORTS:
        raise InvalidInput(f"rule {rule[:60]!r}… has more than {MAX_PORTS} ports", hint=_FORM)
    return tuple(found)


def _target_text(target: Target, *, ports: str) -> str:
    match target:
        case Place():
            word = target.value
        case Domain():
            word = str(target)
        case IPv4Network():
            word = str(target.network_address) if target.prefixlen == 32 else str(target)
        case _:
            address, length = str(target.network_address), target.prefixlen
            word = f"[{address}]" if length == 128 else f"[{address}]/{length}"
    return f"{word}:{ports}" if ports else word
