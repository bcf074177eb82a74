"""A policy as chains of nft. Pure text.

The first rule that matches decides, as :meth:`monocore_core.model.policy.Policy.decide` says, which the tests compare with. Every policy has one
chain that all its sandboxes share, and a set for each rule with a name: of the (sandbox, address) pairs that the resolver opened.
A rule that denies a name has nothing here: the resolver does not tell its addresses.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

from attrs import frozen

from monocore_core.model.policy import Action, Domain, Place, Policy, Protocol, Rule

#: Group of NFLOG to which refusals are told.
LOG_GROUP = 4343
#: Refusals that are told of one rule; the others are only counted.
LOG_RATE = "10/second burst 20 packets"
_TABLE = "inet monocore"


@frozen
class Chains:
    """The chains of one policy.

    Attributes:
        policy: what they say.
        ingress: whether it tells who may come in, instead of what may be reached.
    """

    policy: Policy
    ingress: bool = False

    @property
    def name(self) -> str:
        """Equal for equal policies."""
        return ("i_" if self.ingress else "p_") + _digest(self.policy)

    def sets(self) -> Iterator[tuple[int, str]]:
        """(number of the rule, declaration) of the sets of rules that allow a name."""
        for number, rule in enumerate(self.policy.rules):
            if not self.ingress and isinstance(rule.target, Domain) and rule.action is Action.ALLOW:
                for version, kind in ((4, "ip"), (6, "ip6")):
                    yield (
                        number,
                        f"{_TABLE} {self.learned(number, version)} {{ typeof {kind} saddr . {kind} daddr; flags timeout; }}",
                    )

    def learned(self, number: int, version: int) -> str:
        """Name of the set of a rule with a name."""
        return f"n_{self.name[2:]}_{number}_{version}"

    def refusing(self) -> list[str]:
        """Labels of what may refuse: the rules that deny, by number, and the default."""
        numbers = [str(n) for n, rule in enumerate(self.policy.rules) if rule.action is Action.DENY]
        return [*numbers, *(["default"] if self.policy.default is Action.DENY else [])]

    def added(self) -> list[str]:
        """Lines that make everything."""
        lines = [f"add set {declaration}" for _, declaration in self.sets()]
        for label in self.refusing():
            chain = f"{self.name}_{label}"
            lines.append(f"add chain {_TABLE} {chain}")
            lines.append(
                f'add rule {_TABLE} {chain} limit rate {LOG_RATE} log group {LOG_GROUP} prefix "{self.name}/{label}"'
            )
            lines.append(f"add rule {_TABLE} {chain} goto refused")
        lines.append(f"add chain {_TABLE} {self.name}")
        lines += [f"add rule {_TABLE} {self.name} {text}" for text in self._statements()]
        return lines

    def removed(self) -> list[str]:
        """Lines that remove everything, whether or not it is there."""
        chains = [self.name, *(f"{self.name}_{label}" for label in self.refusing())]
        lines = [f"{verb} chain {_TABLE} {chain}" for chain in chains for verb in ("add", "flush")]
        lines += [f"delete chain {_TABLE} {chain}" for chain in chains]
        for _, declaration in self.sets():
            lines += [f"add set {declaration}", f"delete set {declaration.partition(' {')[0]}"]
        return lines

    def _statements(self) -> Iterator[str]:
        allow = "accept" if self.ingress else "goto allowed"
        for number, rule in enumerate(self.policy.rules):
            verdict = allow if rule.action is Action.ALLOW else f"goto {self.name}_{number}"
            for target in self._targets(number, rule):
                yield " ".join(filter(None, (_transport(rule), target, verdict)))
        yield allow if self.policy.default is Action.ALLOW else f"goto {self.name}_default"

    def _targets(self, number: int, rule: Rule) -> Iterator[str]:
        """Matches, of which one must hold; none for a rule that nothing matches."""
        side = "saddr" if self.ingress else "daddr"
        match rule.target:
            case Place.ANY:
                yield ""
            case Place.GROUP:
                yield "meta iifname . meta oifname @same"
            case Place.HOST:
                yield f"ip {side} @host4"
                yield f"ip6 {side} @host6"
            case Place.PRIVATE:
                yield f"ip {side} @private4"
                yield f"ip6 {side} @private6"
            case Domain():
                if not self.ingress and rule.action is Action.ALLOW:
                    yield f"ip saddr . ip daddr @{self.learned(number, 4)}"
                    yield f"ip6 saddr . ip6 daddr @{self.learned(number, 6)}"
            case network:
                yield f"{'ip' if network.version == 4 else 'ip6'} {side} {network}"


@functools.lru_cache(maxsize=1024)
def _digest(policy: Policy) -> str:
    return hashlib.sha256("\n".join(policy.lines()).encode()).hexdigest()[:16]


def _transport(rule: Rule) -> str:
    if rule.protocol is Protocol.ICMP:
        return "meta l4proto { icmp, ipv6-icmp }"
    if not rule.ports:
        return "" if rule.protocol is Protocol.ANY else f"meta l4proto {rule.protocol}"
    ports = ", ".join(map(str, _merged(rule)))
    protocol = "{ tcp, udp }" if rule.protocol is Protocol.ANY else str(rule.protocol)
    return f"meta l4proto {protocol} th dport {{ {ports} }}"


def _merged(rule: Rule) -> Iterator[str]:
    """The ports as intervals that do not overlap, which nft demands."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((ports.first, ports.last) for ports in rule.ports):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return (str(first) if first == last else f"{first}-{last}" for first, last in spans)
