"""The choice of backends: by wish, by rank, by what fits; and a reason for every one that is not used."""

import pytest
from attrs import evolve
from hypothesis import event, given
from hypothesis import strategies as st

from monocore_core.errors import NothingFits
from monocore_core.interfaces.provider import (
    Interface,
    MergerCapabilities,
    NetworkCapabilities,
    Problem,
    SourceCapabilities,
    VmmCapabilities,
)
from monocore_core.model.network import AttachmentKind, NetworkFeature, NetworkRequest, Publish
from monocore_core.model.policy import PROFILES
from monocore_core.model.rootfs import DiskFormat, RootKind
from monocore_core.plan.choose import choose
from monocore_core.plan.fit import Offer, Wishes


def vmm(
    name: str,
    rank: int = 50,
    *,
    roots: frozenset[RootKind] = frozenset(RootKind),
    problem: Problem | None = None,
    attachments: frozenset[AttachmentKind] = frozenset(AttachmentKind),
    filesystems: frozenset[str] = frozenset({"erofs"}),
    architectures: frozenset[str] = frozenset({"amd64"}),
) -> Offer:
    capabilities = VmmCapabilities(
        architectures=architectures,
        roots=roots,
        disk_formats=frozenset({DiskFormat.RAW, DiskFormat.VMDK}),
        filesystems=filesystems,
        attachments=attachments,
    )
    return Offer(Interface.VMM, name, rank, capabilities, problem=problem)


def merger(
    name: str, rank: int = 50, *, root: RootKind = RootKind.DISK, problem: Problem | None = None
) -> Offer:
    if root is RootKind.DISK:
        capabilities = MergerCapabilities(root=root, disk_format=DiskFormat.VMDK, filesystem="erofs")
    else:
        capabilities = MergerCapabilities(root=root)
    return Offer(Interface.LAYER_MERGER, name, rank, capabilities, problem=problem)


def network(name: str, rank: int = 50, kind: AttachmentKind = AttachmentKind.NONE) -> Offer:
    return Offer(Interface.NETWORK, name, rank, NetworkCapabilities(kind))


def source(name: str, rank: int = 50, schemes: tuple[str, ...] = ()) -> Offer:
    return Offer(Interface.IMAGE_SOURCE, name, rank, SourceCapabilities(schemes))


REST = [merger("erofs"), network("none"), source("registry")]


def wishes(
    scheme: str = "", *, disk: bool = False, wants: NetworkRequest | None = None, **choices: str
) -> Wishes:
    return Wishes(
        {Interface(key): value for key, value in choices.items()},
        "amd64",
        scheme,
        disk=disk,
        network=wants,
    )


def reasons(offers: list[Offer], wish: Wishes) -> dict[str, str]:
    return {verdict.name: verdict.reason for verdict in choose(offers, wish).verdicts}


def test_the_highest_rank_that_works_wins() -> None:
    broken = vmm("best", 90, problem=Problem("no /dev/kvm", "load kvm"))
    plan = choose([vmm("low", 10), broken, vmm("high", 50), *REST], wishes())
    assert plan.vmm == "high"
    told = {verdict.name: verdict for verdict in plan.verdicts}
    assert told["best"].reason == "no /dev/kvm"
    assert told["best"].hint == "load kvm"
    assert told["low"].reason == "rank 10 is below high's 50"
    assert told["high"].chosen


def test_a_wish_beats_rank_but_not_a_problem() -> None:
    offers = [vmm("low", 10), vmm("high", 50), *REST]
    assert choose(offers, wishes(vmm="low")).vmm == "low"
    assert reasons(offers, wishes(vmm="low"))["low"] == "asked for"
    with pytest.raises(NothingFits, match="VMM low cannot be used: broken") as caught:
        choose([vmm("low", 10, problem=Problem("broken", "mend it")), vmm("high"), *REST], wishes(vmm="low"))
    assert caught.value.hint == "mend it"


def test_a_rate_of_a_disk_needs_a_vmm_that_limits_it() -> None:
    able = vmm("able", 10)
    assert isinstance(able.capabilities, VmmCapabilities)
    offers = [evolve(able, capabilities=evolve(able.capabilities, disk_limits=True)), vmm("high", 50), *REST]
    wish = evolve(wishes(disk=True), disk_limits=True)
    assert choose(offers, wish).vmm == "able"
    assert reasons(offers, wish)["high"] == "cannot limit the rate of a disk"
    assert choose(offers, wishes(disk=True)).vmm == "high"


def test_a_merger_that_the_vmm_cannot_attach_is_passed_over() -> None:
    offers = [
        vmm("v", roots=frozenset({RootKind.DIRECTORY})),
        merger("copy", 10, root=RootKind.DIRECTORY),
        *REST,
    ]
    plan = choose(offers, wishes())
    assert plan.layer_merger == "copy"
    assert reasons(offers, wishes())["erofs"] == "v takes no root that is a disk"


def test_a_kernel_without_the_filesystem_does_not_fit() -> None:
    with pytest.raises(NothingFits, match="do not fit together") as caught:
        choose([vmm("v", filesystems=frozenset()), *REST], wishes())
    assert caught.value.reasons == ("v + erofs + none: the guest kernel of v cannot mount erofs",)


def test_a_scheme_selects_its_source() -> None:
    offers = [vmm("v"), *REST, source("archive", 10, ("oci-archive",))]
    assert choose(offers, wishes("oci-archive")).image_source == "archive"
    assert choose(offers, wishes()).image_source == "registry"
    assert reasons(offers, wishes())["archive"] == "takes only references with oci-archive:"


def test_a_network_that_is_wanted_is_not_none() -> None:
    offers = [vmm("v"), *REST, network("tap", 5, AttachmentKind.TAP)]
    assert choose(offers, wishes(wants=NetworkRequest("", "web"))).network == "tap"
    with pytest.raises(NothingFits, match="network none cannot be used: a network was asked for"):
        choose([vmm("v"), *REST], wishes(wants=NetworkRequest("", "web")))


def test_a_network_that_is_not_wanted_is_not_used() -> None:
    offers = [vmm("v"), *REST, network("tap", 5, AttachmentKind.TAP)]
    assert choose(offers, wishes()).network == "none"


def test_a_network_that_cannot_do_what_is_asked_names_it() -> None:
    rules = Offer(
        Interface.NETWORK,
        "rules",
        5,
        NetworkCapabilities(AttachmentKind.TAP, frozenset({NetworkFeature.RULES})),
    )
    offers = [vmm("v"), *REST, network("user", 50, AttachmentKind.USER), rules]
    request = NetworkRequest("", "web", PROFILES["public"])
    plan = choose(offers, wishes(wants=request))
    assert plan.network == "rules"
    (why,) = (verdict.reason for verdict in plan.verdicts if verdict.name == "user")
    assert why == "cannot enforce the rule 'deny host'"
    request = NetworkRequest("", "web", publish=(Publish(80, 8080),))
    with pytest.raises(NothingFits, match="network rules cannot be used: cannot do the published port"):
        choose(offers, wishes(wants=request, network="rules"))


def test_a_network_in_place_of_a_better_one_is_told() -> None:
    better = evolve(
        network("tap", 60, AttachmentKind.TAP),
        problem=Problem("nft is not installed", "apt-get install nftables"),
    )
    offers = [vmm("qemu"), *REST, network("user", 10, AttachmentKind.USER), better]
    asked = NetworkRequest("", "", PROFILES["all"])
    assert choose(offers, wishes(wants=asked)).instead == (
        "the network is user, since tap cannot work here: nft is not installed (apt-get install nftables)",
    )
    assert choose(offers, wishes()).instead == ()
    assert choose(offers, wishes(wants=asked, network="user")).instead == ()


def test_the_plan_says_that_there_is_no_network() -> None:
    assert choose([vmm("v"), *REST], wishes()).notes == ("the sandbox has no network: only its own loopback",)


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(NothingFits) as caught:
        choose([vmm("vmm_qemu"), vmm("vmm_libkrun"), *REST], wishes(vmm="vmm_quemu"))
    assert caught.value.brief == "VMM 'vmm_quemu' is not installed (installed: vmm_libkrun, vmm_qemu)"
    assert caught.value.hint == "did you mean 'vmm_qemu'?"


def test_every_candidate_gets_a_reason_when_none_works() -> None:
    offers = [vmm("a", problem=Problem("no a")), vmm("b", architectures=frozenset({"arm64"})), *REST]
    with pytest.raises(NothingFits, match="no VMM can be used here") as caught:
        choose(offers, wishes())
    assert caught.value.reasons == (
        "a: no a",
        "b: runs guests for arm64, not for amd64 (choose an image for arm64, or see 'monocore plugins' for other VMMs)",
    )
    assert caught.value.hint == "one of them is enough; 'monocore doctor' looks at this host"


def test_nothing_installed() -> None:
    with pytest.raises(NothingFits, match="no VMM is installed"):
        choose(REST, wishes())


@given(
    st.lists(
        st.builds(
            vmm,
            st.sampled_from("abcd"),
            st.integers(0, 9),
            roots=st.frozensets(st.sampled_from(RootKind)),
            problem=st.none() | st.just(Problem("p")),
            attachments=st.frozensets(st.sampled_from(AttachmentKind)),
        ),
        unique_by=lambda offer: offer.name,
    ),
    st.lists(
        st.builds(merger, st.sampled_from("mnop"), st.integers(0, 9), root=st.sampled_from(RootKind)),
        unique_by=lambda offer: offer.name,
    ),
)
def test_a_plan_fits_or_says_why_not(vmms: list[Offer], mergers: list[Offer]) -> None:
    offers = [*vmms, *mergers, network("none"), source("registry")]
    try:
        plan = choose(offers, wishes())
    except NothingFits:
        event("nothing fits")
        return
    by_name = {offer.name: offer for offer in offers}
    chosen_vmm, chosen_merger = by_name[plan.vmm].capabilities, by_name[plan.layer_merger].capabilities
    assert isinstance(chosen_vmm, VmmCapabilities)
    assert isinstance(chosen_merger, MergerCapabilities)
    assert chosen_merger.root in chosen_vmm.roots
    assert by_name[plan.vmm].problem is None
    assert {verdict.name for verdict in plan.verdicts} == set(by_name)
    assert sum(verdict.chosen for verdict in plan.verdicts) == 4
    assert all(verdict.reason for verdict in plan.verdicts)
