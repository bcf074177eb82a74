"""Code in the place of QEMU, in QEMU's jail, finds nothing and reaches nobody.

Each attempt is a process of its own in a jail as QEMU's is, once with every layer, and once without the list of system calls, so that the layers
behind it are seen to hold by themselves. Those that can be tried without harm also run without a jail, where they have to succeed: an attempt that
fails everywhere would show nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu.confine import jail_of

from monocore_core.jail import Identity, Jail, allocate, release
from monocore_core.model.machine import MachineSpec
from tests.integration.jail.world import World, attempt, becoming

pytestmark = [pytest.mark.integration, pytest.mark.needs("gcc", "gcc")]
#: What nothing but the list of system calls stands against: it harms nobody outside by itself.
ONLY_SECCOMP = {
    "start a process",
    "new namespaces",
    "io_uring",
    "keys of the kernel",
    "vsock",
    "userfaultfd",
    "count events",
}


def _jail(world: World, identity: Identity | None) -> Jail:
    spec = MachineSpec("probe", "amd64", 1, 1 << 27, Path(), world.folder / "stage", Path())
    return jail_of(spec, world.probe, world.probe, identity, kvm=False)


@pytest.mark.parametrize("who", ["root", "user"])
async def test_an_escaped_guest_gets_nowhere(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = becoming(who)
    identity = allocate(world.folder / "uids") if who == "root" else None
    os.set_inheritable(world.stray, True)  # noqa: FBT003 - the mistake that is to do no harm
    try:
        jail = _jail(world, identity)
        bare = evolve(jail, calls=None)
        table = {
            what: (
                await attempt(world, what, jail, identity, prefix),
                await attempt(world, what, bare, identity, prefix),
            )
            for what in world.attempts
        }
    finally:
        release(identity)
    with capsys.disabled():
        rows = [(f"attempt, as {who}", ("in the jail", "without seccomp")), *table.items()]
        text = "\n".join(f"{what:34} {whole:44} {part}" for what, (whole, part) in rows)
        sys.stdout.write(f"\n{text}\n")
    assert [what for what, (whole, _) in table.items() if "SUCCEEDED" in whole] == []
    through = {what for what, (_, part) in table.items() if "SUCCEEDED" in part}
    assert through - ONLY_SECCOMP == set()


async def test_the_attempts_succeed_without_a_jail(world: World) -> None:
    os.set_inheritable(world.stray, True)  # noqa: FBT003
    ends = {what: await attempt(world, what, None, None, ()) for what in sorted(world.harmless)}
    assert {what for what, end in ends.items() if end != "SUCCEEDED"} == set()


async def test_an_allowed_call_is_missed_when_it_is_taken_away(world: World) -> None:
    """The list is needed: a program without a call of it dies, and its end says why."""
    identity = allocate(world.folder / "uids") if os.geteuid() == 0 else None
    try:
        jail = _jail(world, identity)
        assert jail.calls is not None
        less = evolve(jail, calls=evolve(jail.calls, allowed=jail.calls.allowed - {"write"}))
        assert await attempt(world, "the environment", less, identity, ()) == "killed: SIGSYS"
    finally:
        release(identity)
