"""What a policy says of a name. Pure."""

from __future__ import annotations

from attrs import frozen

from monocore_core.model.policy import Action, Domain, Place, Policy


@frozen
class Verdict:
    """Of one name.

    Attributes:
        forward: whether it may be asked for outside.
        rule: number of the rule with a name that allows it: its addresses are to be opened. None where no such rule decides.
    """

    forward: bool
    rule: int | None = None


def verdict(policy: Policy, name: str) -> Verdict:
    """The first rule over names that matches decides.

    Where none matches, the name is asked for if an address that it may have is allowed anyhow: by the default, or by a rule
    over every address. A policy that allows the group, some networks or some names alone forwards nothing else: a name that is asked for is a
    message to whoever answers for it.
    """
    for number, rule in enumerate(policy.rules):
        if isinstance(rule.target, Domain) and rule.target.matches(name):
            return Verdict(rule.action is Action.ALLOW, number if rule.action is Action.ALLOW else None)
    everywhere = any(rule.action is Action.ALLOW and rule.target is Place.ANY for rule in policy.rules)
    return Verdict(everywhere or policy.default is Action.ALLOW)
