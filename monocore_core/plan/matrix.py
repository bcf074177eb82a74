"""Every pair of a VMM and a layer merger: whether it would run, or why not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from monocore_core.errors import NothingFits
from monocore_core.interfaces.provider import Interface
from monocore_core.plan.choose import choose
from monocore_core.plan.fit import AUTO, Offer, Wishes, exclusion, root_misfit


@frozen
class Combination:
    """One pair, and the network that it would use.

    Attributes:
        vmm: name of the VMM.
        layer_merger: name of the layer merger.
        network: name of the network, or "" when the pair cannot run.
        chosen: whether it is the one that the wishes lead to.
        fits: whether the two fit together, whatever this host lacks.
        reason: why it cannot run here, or "".
        hint: what to do about that, or "".
    """

    vmm: str
    layer_merger: str
    network: str = ""
    chosen: bool = False
    fits: bool = True
    reason: str = ""
    hint: str = ""


def combinations(
    offers: Sequence[Offer], promised: Mapping[str, Offer], wishes: Wishes
) -> tuple[Combination, ...]:
    """Every pair, the best-ranked first.

    Args:
        offers: what is installed, as it is on this host.
        promised: VMMs by name, as they would be with everything installed.
        wishes: what is asked; their choice of VMM and merger does not count, except for ``chosen``.
    """
    try:
        plan = choose(offers, wishes)
        winner = (plan.vmm, plan.layer_merger)
    except NothingFits:
        winner = ("", "")
    free = evolve(wishes, choices={**wishes.choices, Interface.VMM: AUTO, Interface.LAYER_MERGER: AUTO})
    found = [
        _judge(vmm, merger, offers, promised, free)
        for vmm in _of(Interface.VMM, offers)
        for merger in _of(Interface.LAYER_MERGER, offers)
    ]
    return tuple(evolve(pair, chosen=(pair.vmm, pair.layer_merger) == winner) for pair in found)


def _of(interface: Interface, offers: Sequence[Offer]) -> list[Offer]:
    found = [offer for offer in offers if offer.interface is interface]
    return sorted(found, key=lambda offer: (-offer.rank, offer.name))


def _judge(
    vmm: Offer, merger: Offer, offers: Sequence[Offer], promised: Mapping[str, Offer], wishes: Wishes
) -> Combination:
    pair = Combination(vmm.name, merger.name)
    misfit = root_misfit(promised.get(vmm.name, vmm), merger)
    if misfit is not None:
        return evolve(pair, fits=False, reason=misfit)
    for offer in (vmm, merger):
        problem = exclusion(offer, wishes)
        if problem is not None:
            return evolve(pair, reason=f"{offer.name}: {problem.reason}", hint=problem.hint)
    lacking = root_misfit(vmm, merger)
    if lacking is not None:
        return evolve(pair, reason=lacking)
    chosen = {Interface.VMM: vmm.name, Interface.LAYER_MERGER: merger.name}
    try:
        plan = choose(offers, evolve(wishes, choices={**wishes.choices, **chosen}))
    except NothingFits as error:
        return evolve(pair, reason="; ".join(error.reasons) or error.brief, hint=error.hint or "")
    return evolve(pair, network=plan.network)
