"""Code in the place of a program that serves a VMM, in its jail: what it could do for a guest that took it over."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator

import pytest
from attrs import evolve
from monocore_net_tap.holder import Holder
from monocore_net_tap.uplink.confine import jail_of_slirp
from monocore_vmm_qemu.confine_shares import jail_of_shares

from monocore_core.jail import Jail, allocate, release
from monocore_core.model.machine import Share
from monocore_core.unpacking.confine import Program, jail_of
from tests.integration.jail.world import World, attempt, becoming

pytestmark = [pytest.mark.integration, pytest.mark.needs("gcc", "gcc")]
_CAP_NET_BIND_SERVICE = 10


def _jail_of_virtiofsd(world: World, *, rooted: bool) -> Jail:
    shares = (
        Share("data", world.shared, readonly=False),
        Share("fixed", world.shared, readonly=True),
    )
    return jail_of_shares(shares, world.probe, world.folder / "stage", rooted=rooted)


#: What who serves folders can before it has begun: it acts for every user of the guest, and changes its root to the folders. An ordinary user's
#: is root in its own namespace alone, and is only told that groups were set.
SERVING = {"become root", "become root's group", "set groups", "change the root", "the bounding set"}


@pytest.mark.parametrize("who", ["root", "user"])
async def test_in_the_place_of_who_serves_folders(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = becoming(who)
    jail = _jail_of_virtiofsd(world, rooted=who == "root")
    more = {
        "write to a folder that is served": ("create_file", "/shares/data/new"),
        "write to one that is served to read": ("create_file", "/shares/fixed/new"),
        "leave a folder that is served": ("read_file", "/shares/data/../../../secret"),
        "a device in a folder": ("make_device_in", "/shares/data/device"),
    }
    (world.shared / "new").unlink(missing_ok=True)
    found = evolve(world, attempts={**world.attempts, **more})
    table = {what: await attempt(found, what, jail, None, prefix) for what in found.attempts}
    with capsys.disabled():
        rows = [(f"attempt in virtiofsd's place, as {who}", "in the jail"), *table.items()]
        sys.stdout.write("\n" + "\n".join(f"{what:44} {end}" for what, end in rows) + "\n")
    assert table.pop("write to a folder that is served") == "SUCCEEDED"
    assert {what for what, end in table.items() if "SUCCEEDED" in end} <= SERVING


@pytest.mark.parametrize("who", ["root", "user"])
async def test_in_the_place_of_what_decompresses(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = becoming(who)
    identity = allocate(world.folder / "uids") if who == "root" else None
    # Python's own files are left out: an ordinary user of the tests' may not be let read those of root's
    jail = jail_of(Program(world.probe, (), ()), world.folder / "stage", identity)
    try:
        table = {what: await attempt(world, what, jail, identity, prefix) for what in world.attempts}
    finally:
        release(identity)
    with capsys.disabled():
        rows = [(f"attempt in the place of what decompresses, as {who}", "in the jail"), *table.items()]
        sys.stdout.write("\n" + "\n".join(f"{what:44} {end}" for what, end in rows) + "\n")
    assert [what for what, end in table.items() if "SUCCEEDED" in end] == []


#: What who carries packets can when it reads the first: its sockets are the host's, which is what it is for. It has no /dev then, and is root without
#: a capability of root's, or of its own namespace alone.
CARRYING = {
    "become root",
    "become root's group",
    "a server on loopback",
    "the metadata address",
    "a datagram",
    "start a process",
    "taps",
    "the bounding set",
}


@pytest.mark.parametrize("who", ["root", "user"])
async def test_in_the_place_of_who_carries_packets(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = becoming(who)
    with _namespaces(prefix, rootless=who == "user") as holder:
        (world.folder / "resolv.conf").touch()
        jail = jail_of_slirp(
            world.probe, holder, world.folder / "stage", world.folder / "resolv.conf", rootless=who == "user"
        )
        serving = evolve(jail, capabilities=frozenset({_CAP_NET_BIND_SERVICE}))
        table = {what: await attempt(world, what, serving, None, prefix) for what in world.attempts}
    with capsys.disabled():
        rows = [(f"attempt in slirp4netns' place, as {who}", "in the jail"), *table.items()]
        sys.stdout.write("\n" + "\n".join(f"{what:44} {end}" for what, end in rows) + "\n")
    assert {what for what, end in table.items() if "SUCCEEDED" in end} <= CARRYING


@contextlib.contextmanager
def _namespaces(prefix: tuple[str, ...], *, rootless: bool) -> Generator[Holder]:
    """Of an ordinary user's sandboxes, or of root's."""
    own = ("--user", "--map-root-user") if rootless else ()
    words = [*prefix, "unshare", *own, "--net", "--", "sh", "-c", "echo there; exec sleep 600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"there\n":
                pytest.skip("needs user namespaces")
            yield Holder(process.pid, 0, "")
        finally:
            process.kill()
