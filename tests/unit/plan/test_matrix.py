"""Every pair of a VMM and a merger has an answer: it runs, it would on another host, or it never fits."""

from __future__ import annotations

from attrs import evolve

from monocore_core.interfaces.provider import (
    Interface,
    MergerCapabilities,
    NetworkCapabilities,
    Problem,
    SourceCapabilities,
    VmmCapabilities,
)
from monocore_core.model.network import AttachmentKind
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.plan.fit import Offer, Wishes
from monocore_core.plan.matrix import Combination, combinations

BOTH = VmmCapabilities(
    architectures=frozenset({"amd64"}),
    roots=frozenset(RootKind),
    disk_formats=frozenset({DiskFormat.VMDK}),
    filesystems=frozenset({"erofs"}),
    attachments=frozenset({AttachmentKind.NONE}),
    shares=True,
)
DISKS = evolve(BOTH, roots=frozenset({RootKind.DISK}), shares=False)
LACKING = evolve(DISKS, lacks=("virtiofsd is not installed",))
EROFS = MergerCapabilities(root=RootKind.DISK, disk_format=DiskFormat.VMDK, filesystem="erofs")
COPY = MergerCapabilities(root=RootKind.DIRECTORY)
REST = (
    Offer(Interface.NETWORK, "none", 1, NetworkCapabilities(AttachmentKind.NONE)),
    Offer(Interface.IMAGE_SOURCE, "registry", 50, SourceCapabilities()),
)
WISHES = Wishes({}, "amd64")


def vmm(name: str, rank: int, capabilities: VmmCapabilities, problem: Problem | None = None) -> Offer:
    return Offer(Interface.VMM, name, rank, capabilities, problem=problem)


def test_every_pair_has_an_answer() -> None:
    offers = (
        vmm("full", 60, BOTH, Problem("/dev/kvm does not exist", "use another host")),
        vmm("here", 50, LACKING),
        vmm("disks", 40, DISKS),
        Offer(Interface.LAYER_MERGER, "copy", 20, COPY),
        Offer(Interface.LAYER_MERGER, "erofs", 50, EROFS),
        *REST,
    )
    promised = {"full": offers[0], "here": evolve(offers[1], capabilities=BOTH), "disks": offers[2]}
    kvm = Combination("full", "", reason="full: /dev/kvm does not exist", hint="use another host")
    assert combinations(offers, promised, WISHES) == (
        evolve(kvm, layer_merger="erofs"),
        evolve(kvm, layer_merger="copy"),
        Combination("here", "erofs", network="none", chosen=True),
        Combination(
            "here",
            "copy",
            reason="here takes no root that is a directory (virtiofsd is not installed)",
        ),
        Combination("disks", "erofs", network="none"),
        Combination("disks", "copy", fits=False, reason="disks takes no root that is a directory"),
    )


def test_a_wish_for_one_vmm_changes_only_what_is_chosen() -> None:
    offers = (
        vmm("a", 60, BOTH),
        vmm("b", 50, BOTH),
        Offer(Interface.LAYER_MERGER, "erofs", 50, EROFS),
        *REST,
    )
    wish = evolve(WISHES, choices={Interface.VMM: "b"})
    assert [(pair.vmm, pair.chosen, pair.reason) for pair in combinations(offers, {}, wish)] == [
        ("a", False, ""),
        ("b", True, ""),
    ]


def test_what_nothing_can_do_is_said_of_every_pair() -> None:
    offers = (vmm("a", 60, BOTH), Offer(Interface.LAYER_MERGER, "erofs", 50, EROFS), *REST)
    (pair,) = combinations(offers, {}, evolve(WISHES, architecture="arm64"))
    assert (pair.chosen, pair.fits, pair.network) == (False, True, "")
    assert "runs guests for amd64" in pair.reason
