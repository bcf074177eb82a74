"""What a spare's guest can be set up as, and which word of a sandbox it may know."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.model.guest import (
    GuestSetup,
    RootDisk,
    RootShare,
    ShareMount,
    TmpfsMount,
    UpperDisk,
    UpperMemory,
)
from monocore_core.model.machine import Disk, MachineSpec, Share
from monocore_core.model.network import GuestNetwork, UserMode
from monocore_core.model.oci import ImageConfig, Platform
from monocore_core.roles import Habit, renewal_of, role_of

ROOT = Disk("root", Path("/images/one"), files=(Path("/layers/a"),))
SPEC = MachineSpec(
    "k", "amd64", 1, 256 << 20, Path("/boot"), Path("/d"), Path("/d/console"), disks=(ROOT,), foreground=False
)
SETUP = GuestSetup(RootDisk("root", "erofs"), "mine", b"e" * 64, 17, tied=False)


def test_sandboxes_that_differ_in_what_makes_them_individuals_alone_have_one_role() -> None:
    role = role_of(SPEC, SETUP)
    assert role
    other = evolve(SETUP, hostname="other", entropy=b"f" * 64, time_ns=18)
    elsewhere = evolve(SPEC, key="l", directory=Path("/e"), console=Path("/e/console"))
    assert role_of(elsewhere, other) == role


@pytest.mark.parametrize(
    ("spec", "setup"),
    [
        (evolve(SPEC, disks=(evolve(ROOT, path=Path("/images/two")),)), SETUP),
        (evolve(SPEC, disks=(evolve(ROOT, files=()),)), SETUP),
        (SPEC, evolve(SETUP, upper=None)),
        (SPEC, evolve(SETUP, upper=UpperMemory(1 << 20))),
        (SPEC, evolve(SETUP, mounts=(TmpfsMount("/tmp"),))),
        (SPEC, evolve(SETUP, mounts=(TmpfsMount("/tmp", 5),))),
    ],
)
def test_other_disks_and_other_mounts_are_other_roles(spec: MachineSpec, setup: GuestSetup) -> None:
    assert role_of(spec, setup) not in ("", role_of(SPEC, SETUP))


@pytest.mark.parametrize(
    ("spec", "setup"),
    [
        (evolve(SPEC, disks=(ROOT, Disk("upper", Path("/d/upper"), readonly=False))), SETUP),
        (evolve(SPEC, shares=(Share("v", Path("/v")),)), SETUP),
        (SPEC, evolve(SETUP, root=RootShare("root"))),
        (SPEC, evolve(SETUP, upper=UpperDisk("upper"))),
        (SPEC, evolve(SETUP, mounts=(ShareMount("v", "/v"),))),
    ],
)
def test_what_a_sandbox_has_for_itself_cannot_be_set_up_before(spec: MachineSpec, setup: GuestSetup) -> None:
    assert role_of(spec, setup) == ""


def test_a_network_is_no_part_of_a_role() -> None:
    network = GuestNetwork("02:00:00:00:00:01", (IPv4Interface("10.0.0.2/24"),))
    connected = evolve(SETUP, network=network)
    assert role_of(evolve(SPEC, attachment=UserMode(network.mac)), connected) == role_of(SPEC, SETUP)
    assert renewal_of(connected).network == network


def test_whether_it_ends_with_its_starter_is_no_part_of_a_role() -> None:
    tied = evolve(SETUP, tied=True)
    assert role_of(evolve(SPEC, foreground=True), tied) == role_of(SPEC, SETUP)
    assert renewal_of(tied).tied
    assert not renewal_of(SETUP).tied


def test_the_renewal_has_all_that_the_role_has_not() -> None:
    renewal = renewal_of(SETUP)
    assert (renewal.entropy, renewal.time_ns, renewal.hostname) == (b"e" * 64, 17, "mine")
    assert not renewal.other
    assert "eeee" not in repr(renewal)


CONFIG = ImageConfig(Platform.host(), (), env=("PATH=/opt/bin:/bin", "SECRET=image"), user="app")


@pytest.mark.parametrize("word", ["tool", "/bin/tool", "/opt/bin/tool"])
def test_a_program_is_known_by_its_name_and_nothing_else_is(word: str) -> None:
    habit = Habit(CONFIG)
    assert habit.process() is None
    habit.note(word)
    process = habit.process()
    assert process is not None
    assert (process.argv, process.env, process.user) == (("tool",), ("PATH=/opt/bin:/bin",), "app")


@pytest.mark.parametrize("word", ["/tmp/tool", "./tool", "bin/tool", "/bin/", ""])
def test_a_program_from_elsewhere_is_nobodys_business(word: str) -> None:
    habit = Habit(CONFIG)
    habit.note(word)
    assert habit.process() is None


def test_where_the_image_says_nothing_programs_are_where_they_usually_are() -> None:
    habit = Habit(ImageConfig(Platform.host(), ()))
    habit.note("/usr/bin/tool")
    process = habit.process()
    assert process is not None
    assert process.argv == ("tool",)
    assert "/usr/bin" in process.env[0]
