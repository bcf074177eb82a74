"""Which backends a sandbox uses, and why the others are not used. Pure: offers and wishes in, a plan out.

Each interface is asked for by name or as ``auto``. Among the combinations that fit together, and whose backends work on
this host, the one with the highest-ranked VMM wins, then the highest-ranked merger, then network, then image source.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from attrs import frozen

from monocore_core.errors import NothingFits
from monocore_core.interfaces.provider import Interface, Problem, VmmCapabilities
from monocore_core.plan.fit import AUTO, ORDER, Offer, Wishes, exclusion, misfit


@frozen
class Verdict:
    """What became of one backend, in a sentence."""

    interface: Interface
    name: str
    chosen: bool
    reason: str
    hint: str = ""


@frozen
class Plan:
    """The backends that will be used, a verdict for every installed one, and remarks.

    ``instead`` tells of a network that is used since a better one cannot work on this host: what is asked holds, but whoever starts it should know.
    ``jailed``: whether the VMM runs its processes in a jail.
    """

    image_source: str
    layer_merger: str
    network: str
    vmm: str
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    jailed: bool = False

    def name(self, interface: Interface) -> str:
        """The chosen backend of an interface."""
        return {
            Interface.IMAGE_SOURCE: self.image_source,
            Interface.LAYER_MERGER: self.layer_merger,
            Interface.NETWORK: self.network,
            Interface.VMM: self.vmm,
        }[interface]


def choose(offers: Sequence[Offer], wishes: Wishes) -> Plan:
    """Pick a backend for each interface.

    Raises:
        NothingFits: with a reason for every candidate.
    """
    excluded = {(offer.interface, offer.name): why for offer in offers if (why := exclusion(offer, wishes))}
    usable = {
        interface: sorted(
            (o for o in offers if o.interface is interface and (o.interface, o.name) not in excluded),
            key=lambda offer: (-offer.rank, offer.name),
        )
        for interface in ORDER
    }
    for combination in product(*(usable[interface] for interface in ORDER)):
        if not misfit(combination):
            return _plan(combination, offers, excluded, wishes)
    raise _nothing_fits(offers, wishes, excluded, usable)


def choose_source(offers: Sequence[Offer], wishes: Wishes) -> str:
    """Pick an image source alone, for a pull.

    Raises:
        NothingFits: with a reason for every candidate.
    """
    sources = [offer for offer in offers if offer.interface is Interface.IMAGE_SOURCE]
    excluded = {(offer.interface, offer.name): why for offer in sources if (why := exclusion(offer, wishes))}
    usable = [offer for offer in sources if (offer.interface, offer.name) not in excluded]
    if not usable:
        raise _none_usable(Interface.IMAGE_SOURCE, offers, wishes, excluded)
    return min(usable, key=lambda offer: (-offer.rank, offer.name)).name


def _plan(
    combination: Sequence[Offer],
    offers: Sequence[Offer],
    excluded: Mapping[tuple[Interface, str], Problem],
    wishes: Wishes,
) -> Plan:
    chosen = {offer.interface: offer for offer in combination}
    verdicts: list[Verdict] = []
    for offer in sorted(offers, key=lambda o: (ORDER.index(o.interface), -o.rank, o.name)):
        winner = chosen[offer.interface]
        if offer is winner:
            asked = wishes.choice(offer.interface) == offer.name
            reason = "asked for" if asked else f"best that fits and works here (rank {offer.rank})"
            verdicts.append(Verdict(offer.interface, offer.name, chosen=True, reason=reason))
        elif problem := excluded.get((offer.interface, offer.name)):
            verdicts.append(
                Verdict(offer.interface, offer.name, chosen=False, reason=problem.reason, hint=problem.hint)
            )
        else:
            with_it = [offer if o.interface is offer.interface else o for o in combination]
            reason = misfit(with_it) or f"rank {offer.rank} is below {winner.name}'s {winner.rank}"
            verdicts.append(Verdict(offer.interface, offer.name, chosen=False, reason=reason))
    network = chosen[Interface.NETWORK].name
    vmm = chosen[Interface.VMM]
    notes = ("the sandbox has no network: only its own loopback",) if network == "none" else ()
    return Plan(
        image_source=chosen[Interface.IMAGE_SOURCE].name,
        layer_merger=chosen[Interface.LAYER_MERGER].name,
        network=network,
        vmm=vmm.name,
        verdicts=tuple(verdicts),
        notes=notes,
        instead=tuple(_instead(chosen[Interface.NETWORK], offers, wishes)),
        jailed=isinstance(vmm.capabilities, VmmCapabilities) and vmm.capabilities.jails,
    )


def _instead(chosen: Offer, offers: Sequence[Offer], wishes: Wishes) -> Iterator[str]:
    if wishes.network is None or wishes.choice(Interface.NETWORK) != AUTO:
        return
    for offer in offers:
        if offer.interface is Interface.NETWORK and offer.rank > chosen.rank and offer.problem is not None:
            yield f"the network is {chosen.name}, since {offer.name} cannot work here: {_with_hint(offer.problem)}"


def _nothing_fits(
    offers: Sequence[Offer],
    wishes: Wishes,
    excluded: Mapping[tuple[Interface, str], Problem],
    usable: Mapping[Interface, Sequence[Offer]],
) -> NothingFits:
    empty = [interface for interface in ORDER if not usable[interface]]
    if not empty:
        reasons = tuple(_misfits(usable))
        return NothingFits("the installed backends do not fit together", reasons=reasons)
    return _none_usable(empty[0], offers, wishes, excluded)


def _none_usable(
    interface: Interface,
    offers: Sequence[Offer],
    wishes: Wishes,
    excluded: Mapping[tuple[Interface, str], Problem],
) -> NothingFits:
    """Why no backend of an interface can be used."""
    installed = [offer for offer in offers if offer.interface is interface]
    choice = wishes.choice(interface)
    names = sorted(offer.name for offer in installed)
    if choice != AUTO and choice not in names:
        near = difflib.get_close_matches(choice, names, 1)
        return NothingFits(
            f"{interface.label} {choice!r} is not installed (installed: {', '.join(names) or 'none'})",
            hint=f"did you mean {near[0]!r}?"
            if near
            else f"perhaps: pip install monocore-{choice.replace('_', '-')}",
        )
    if not installed:
        return NothingFits(
            f"no {interface.label} is installed", hint="see 'monocore plugins' and the README's list"
        )
    problems = [(offer, excluded[interface, offer.name]) for offer in installed]
    wanted = [(offer, problem) for offer, problem in problems if choice in (AUTO, offer.name)]
    if len(wanted) == 1:
        offer, problem = wanted[0]
        return NothingFits(
            f"{interface.label} {offer.name} cannot be used: {problem.reason}", hint=problem.hint or None
        )
    reasons = tuple(f"{offer.name}: {_with_hint(problem)}" for offer, problem in wanted)
    return NothingFits(
        f"no {interface.label} can be used here",
        reasons=reasons,
        hint="one of them is enough; 'monocore doctor' looks at this host",
    )


def _with_hint(problem: Problem) -> str:
    """In one line: what helps with one backend does not with another."""
    return f"{problem.reason} ({problem.hint})" if problem.hint else problem.reason


def _misfits(usable: Mapping[Interface, Sequence[Offer]]) -> Iterator[str]:
    for combination in product(*(usable[interface] for interface in ORDER)):
        names = " + ".join(offer.name for offer in combination[:3])
        yield f"{names}: {misfit(combination)}"
