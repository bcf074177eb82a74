"""Whether backends answer what is asked, and whether they fit together. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from monocore_core.interfaces.provider import (
    Capabilities,
    Interface,
    MergerCapabilities,
    NetworkCapabilities,
    Problem,
    SourceCapabilities,
    VmmCapabilities,
)
from monocore_core.model.network import AttachmentKind, NetworkRequest
from monocore_core.model.rootfs import RootKind

AUTO = "auto"
#: The order in which interfaces are decided and shown.
ORDER = (Interface.VMM, Interface.LAYER_MERGER, Interface.NETWORK, Interface.IMAGE_SOURCE)


@frozen
class Offer:
    """One installed backend, as the plan sees it. ``problem`` is what its probe said of this host."""

    interface: Interface
    name: str
    rank: int
    capabilities: Capabilities
    summary: str = ""
    problem: Problem | None = None
    distribution: str = ""
    version: str = ""


@frozen
class Wishes:
    """What is asked of the combination.

    Attributes:
        choices: backend name or ``auto`` by interface; a missing one is ``auto``.
        architecture: of the guest.
        scheme: of the image reference, "" for a registry's.
        disk: whether a writable disk is wanted.
        disk_limits: whether its rate is to be limited.
        network: what the sandbox asks of a network, or None when it asks for none.
        shares: whether it is to see folders of the host.
    """

    choices: Mapping[Interface, str]
    architecture: str
    scheme: str = ""
    disk: bool = False
    disk_limits: bool = False
    network: NetworkRequest | None = None
    shares: bool = False

    def choice(self, interface: Interface) -> str:
        """The wish for one interface."""
        return self.choices.get(interface, AUTO)


def exclusion(offer: Offer, wishes: Wishes) -> Problem | None:
    """Why this offer is out whatever the others are."""
    choice = wishes.choice(offer.interface)
    if choice not in (AUTO, offer.name):
        return Problem(f"{choice!r} was asked for")
    if offer.problem is not None:
        return offer.problem
    return _unfit(offer.capabilities, wishes)


def _unfit(capabilities: Capabilities, wishes: Wishes) -> Problem | None:
    """Why these capabilities do not answer the wishes."""
    match capabilities:
        case SourceCapabilities(schemes=schemes):
            if wishes.scheme and wishes.scheme not in schemes:
                return Problem(f"takes no {wishes.scheme}: references")
            if not wishes.scheme and schemes:
                return Problem(
                    f"takes only references with {' or '.join(f'{scheme}:' for scheme in schemes)}"
                )
        case VmmCapabilities():
            return _unfit_vmm(capabilities, wishes)
        case NetworkCapabilities():
            return _unfit_network(capabilities, wishes.network)
        case MergerCapabilities():
            pass
    return None


def _unfit_network(capabilities: NetworkCapabilities, request: NetworkRequest | None) -> Problem | None:
    if request is None:
        return None if capabilities.attachment is AttachmentKind.NONE else Problem("no network was asked for")
    if capabilities.attachment is AttachmentKind.NONE:
        return Problem("a network was asked for")
    reason = capabilities.refuse(request)
    return None if reason is None else Problem(reason, "'monocore plugins' lists other networks")


def _unfit_vmm(capabilities: VmmCapabilities, wishes: Wishes) -> Problem | None:
    if wishes.architecture not in capabilities.architectures:
        runs = ", ".join(sorted(capabilities.architectures))
        return Problem(
            f"runs guests for {runs}, not for {wishes.architecture}",
            f"choose an image for {runs}, or see 'monocore plugins' for other VMMs",
        )
    if wishes.disk and capabilities.max_disks < 2:
        return Problem("has no room for a writable disk")
    if wishes.disk_limits and not capabilities.disk_limits:
        return Problem("cannot limit the rate of a disk")
    if wishes.shares and not capabilities.shares:
        return Problem("shares no folders of the host", "; ".join(capabilities.lacks))
    return None


def misfit(combination: Sequence[Offer]) -> str | None:
    """Why these four do not work together."""
    vmm, _, network = (offer.capabilities for offer in combination[:3])
    if not isinstance(vmm, VmmCapabilities):
        return "is not a VMM"
    if why := root_misfit(*combination[:2]):
        return why
    if not isinstance(network, NetworkCapabilities):
        return None
    if network.attachment not in vmm.attachments:
        return f"{combination[0].name} cannot attach a network of kind {network.attachment}"
    if network.descriptors and not vmm.tap_descriptors:
        return f"{combination[0].name} opens taps by name, and {combination[2].name} hands them over open"
    return None


def root_misfit(machines: Offer, roots: Offer) -> str | None:
    """Why a VMM cannot use the roots of a layer merger, or None."""
    vmm, merger, name = machines.capabilities, roots.capabilities, machines.name
    if not isinstance(vmm, VmmCapabilities) or not isinstance(merger, MergerCapabilities):
        return None
    if merger.root not in vmm.roots:
        why = f" ({'; '.join(vmm.lacks)})" if vmm.lacks else ""
        return f"{name} takes no root that is a {merger.root}{why}"
    if merger.root is RootKind.DISK:
        if merger.disk_format not in vmm.disk_formats:
            return f"{name} reads no {merger.disk_format} disks"
        if merger.filesystem not in vmm.filesystems:
            return f"the guest kernel of {name} cannot mount {merger.filesystem}"
    return None
