"""The namespace after many sandboxes, and after its keeper was killed at any moment: as it was before."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
from contextlib import closing, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import pytest
from attrs import evolve
from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.errors import Conflict, MonocoreError
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host, NetworkProvider
from monocore_core.model.events import Denied, Event
from monocore_core.model.network import GuestNetwork, Limits, NetworkRequest, Publish, Tap
from monocore_core.model.policy import parse_policy
from monocore_core.testing.contracts.starter import NetworkOrder, Starter, Then

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.needs("slirp4netns", "slirp4netns"),
    pytest.mark.needs("ip", "iproute2"),
]
OPTIONS = TapOptions(uplink=UplinkKind.SLIRP, linger=0.2)
#: Of the first group's bridge; see monocore_net_tap.links.
_GROUP_MAC = bytes.fromhex("026d63000001")
_COUNTERS = re.compile(r"packets [0-9]+ bytes [0-9]+")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    problem = PROVIDER.probe(Host(tmp_path, tmp_path), OPTIONS)
    if problem is not None:
        pytest.skip(f"net_tap: {problem.reason}")
    state = tmp_path / "s"
    state.mkdir(mode=0o700)
    return Host(state, tmp_path)


def request(number: int, publish: tuple[Publish, ...] = ()) -> NetworkRequest:
    rules = (f"allow tcp 10.0.{number % 7}.0/24:80", "allow *.example.com")
    limits = Limits(1_000_000, 1_000_000, 1000) if number % 3 == 0 else Limits()
    return NetworkRequest(
        f"group{number % 5}", f"h{number}", parse_policy("public", rules), publish, limits=limits
    )


class Inside:
    """What there is in the namespace of the sandboxes."""

    def __init__(self, state: Path) -> None:
        with closing(sqlite3.connect(state / "members.db")) as base:
            (found,) = base.execute("SELECT value FROM facts WHERE name = 'holder'").fetchone()
        self.pid = json.loads(found)["pid"]

    def run(self, *words: str) -> str:
        user = [f"--user=/proc/{self.pid}/ns/user"] if os.geteuid() else []
        enter = ["nsenter", *user, f"--net=/proc/{self.pid}/ns/net", *words]
        return subprocess.run(enter, check=True, capture_output=True, text=True, timeout=20).stdout

    def everything(self) -> dict[str, str]:
        return {
            "links": "\n".join(sorted(line.split()[1] for line in self.run("ip", "-o", "link").splitlines())),
            "routes": self.run("ip", "-4", "route", "show", "table", "all"),
            "neighbours": self.run("ip", "neigh", "show", "nud", "permanent"),
            "rules": _COUNTERS.sub("", self.run("nft", "list", "ruleset")),
        }


def outside() -> dict[str, str]:
    """What there is on the host that an attachment could change."""
    words = {
        "links": ["ip", "-o", "link"],
        "routes": ["ip", "route", "show", "table", "all"],
        "rules": ["nft", "list", "ruleset"],
    }
    return {
        name: re.sub(
            r"state [A-Z]+",
            "",
            subprocess.run(each, check=False, capture_output=True, text=True, timeout=20).stdout,
        )
        for name, each in words.items()
    } | {
        "sysctls": subprocess.run(
            ["sysctl", "-a", "--pattern", "forward|rp_filter|route_localnet"],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout
    }


async def test_two_hundred_sandboxes_leave_everything_as_it_was(host: Host) -> None:
    around = outside()
    async with PROVIDER.create(host, OPTIONS) as network:
        await network.attach("stays", NetworkRequest("", "stays", parse_policy("public")))
        before = Inside(host.state).everything()
        for number in range(200):
            publish = (Publish(80),) if number % 10 == 0 else ()
            await network.attach(f"k{number}", request(number, publish))
            if number >= 20:
                await network.detach(f"k{number - 20}")
        for number in range(180, 200):
            await network.detach(f"k{number}")
        assert await network.keys() == {"stays"}
        assert await settled(host.state, before) == before
        await network.detach("stays")
    await ended(host.state)
    assert outside() == around


async def test_a_keeper_killed_at_any_moment_loses_nothing(host: Host) -> None:
    dice = random.Random(7)
    async with PROVIDER.create(host, OPTIONS) as network:
        await network.attach("stays", NetworkRequest("", "stays", parse_policy("public"), (Publish(80),)))
        before = Inside(host.state).everything()
        for number in range(12):
            key = f"k{number}"
            attaching = asyncio.create_task(quietly(network, key, request(number)))
            await asyncio.sleep(dice.random() * 0.03)
            kill(host.state, parent=number % 2 == 0)
            await attaching
            again = await network.attach(key, request(number))
            assert again.attachment == (await network.attach(key, request(number))).attachment
            detaching = asyncio.create_task(quietly(network, key))
            await asyncio.sleep(dice.random() * 0.03)
            if number % 3 == 0:
                kill(host.state, parent=number % 2 == 0)
            await detaching
            await network.detach(key)
        assert await network.keys() == {"stays"}
        status = await network.inspect("stays")
        assert status is not None
        assert await settled(host.state, before) == before
        with pytest.raises(Conflict):
            await network.attach(
                "another", NetworkRequest("", "x", parse_policy("all"), status.connection.published)
            )
        await network.detach("stays")
    await ended(host.state)


async def test_what_a_killed_process_has_attached_goes_on(host: Host) -> None:
    """The keeper, its way out, the tap and the rules stay as they are; the next process is given the same, and told of what is denied."""
    told: asyncio.Queue[Event] = asyncio.Queue()
    later = evolve(host, emit=told.put_nowait)
    provider = cast("NetworkProvider[object]", PROVIDER)
    order = NetworkOrder(provider, OPTIONS, host, "lives", request(3, (Publish(80),)), Then.STAY)
    async with Starter(order) as starter:
        before, ran = Inside(host.state).everything(), {pid for pid, _ in processes(host.state)}
        starter.kill()
        await starter.left()
    async with PROVIDER.create(later, OPTIONS) as network:
        await network.attach("other", request(8))
        await network.detach("other")
        assert await settled(host.state, before) == before
        assert {pid for pid, _ in processes(host.state)} == ran
        connection = await network.attach("lives", order.request)
        assert isinstance(connection.attachment, Tap)
        assert connection.attachment.fd is not None
        vmm = os.dup(connection.attachment.fd)  # as a VMM that lives on has it
    try:
        async with PROVIDER.create(later, OPTIONS) as network:
            adopted = await network.attach("lives", order.request)
            assert isinstance(adopted.attachment, Tap)
            assert adopted.attachment.fd is None, "the VMM's queue was taken from it"
            assert evolve(adopted, attachment=evolve(adopted.attachment, fd=None)) == evolve(
                connection, attachment=evolve(connection.attachment, fd=None)
            )
            assert connection.guest is not None
            denied = await told_of(told, vmm, packet(connection.guest, "10.9.9.9"))
            assert (denied.sandbox, denied.refusal.destination) == ("lives", "10.9.9.9")
            (port,) = adopted.published
            with socket.socket() as one, pytest.raises(OSError, match="in use"):
                one.bind(("0.0.0.0", port.host))
    finally:
        os.close(vmm)
    async with PROVIDER.create(later, OPTIONS) as network:
        await network.detach("lives")
    await ended(host.state)


async def test_who_has_attached_brings_a_killed_keeper_back(host: Host) -> None:
    """Nobody asks for anything: with keeper and parent killed, a living sandbox would have no way out, and nobody would be told of refusals."""
    told: asyncio.Queue[Event] = asyncio.Queue()
    async with PROVIDER.create(evolve(host, emit=told.put_nowait), OPTIONS) as network:
        connection = await network.attach("one", request(1))
        assert isinstance(connection.attachment, Tap)
        assert connection.attachment.fd is not None
        assert connection.guest is not None
        frame = packet(connection.guest, "10.9.9.9")
        await told_of(told, connection.attachment.fd, frame)
        kill(host.state, parent=True)
        await ended(host.state)
        while not told.empty():
            told.get_nowait()
        denied = await told_of(told, connection.attachment.fd, frame)
        assert denied.refusal.count == 1, "told by another keeper than the first"
        await network.detach("one")
    await ended(host.state)


async def test_a_published_port_that_is_taken_meanwhile_is_lost_alone(host: Host) -> None:
    """A keeper that comes back finds it in another's hands: its sandbox is told, all others are served, and a repeat gets it again."""
    async with PROVIDER.create(host, OPTIONS) as network:
        connection = await network.attach("one", request(1, (Publish(80),)))
        await network.attach("two", request(2))
        kill(host.state, parent=True)
        await ended(host.state)
        (port,) = connection.published
        with await taken(port.host):
            status = await network.inspect("one")
            assert status is not None
            (lost,) = (value for what, value in status.facts if what == "lost")
            assert lost.startswith(f"port {port.host}/tcp of 0.0.0.0 is in use by process {os.getpid()} ")
            assert await network.inspect("two") is not None
            with pytest.raises(Conflict, match="is in use by process"):
                await network.attach("one", request(1, (Publish(80),)))
        await network.attach("one", request(1, (Publish(80),)))
        status = await network.inspect("one")
        assert status is not None
        assert not [value for what, value in status.facts if what == "lost"]
        for key in ("one", "two"):
            await network.detach(key)
    await ended(host.state)


async def test_a_keeper_ends_with_its_folder(host: Host) -> None:
    async with PROVIDER.create(host, OPTIONS) as network:
        await network.attach("forgotten", NetworkRequest("", "forgotten", parse_policy("public")))
        holder = Inside(host.state).pid
    shutil.rmtree(host.state)
    await ended(host.state)
    assert not runs(holder)


async def taken(port: int) -> socket.socket:
    """A listener at a port whose last holder is ending."""
    for _ in range(200):
        try:
            return socket.create_server(("0.0.0.0", port))
        except OSError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"port {port} is still held")


async def told_of(events: asyncio.Queue[Event], tap: int, frame: bytes) -> Denied:
    """The event of a frame, which is sent until it comes: the network listens from some moment after an attachment."""
    for _ in range(200):
        os.write(tap, frame)
        with suppress(TimeoutError):
            event = await asyncio.wait_for(events.get(), 0.1)
            assert isinstance(event, Denied)
            return event
    raise AssertionError("nothing was told")


def packet(guest: GuestNetwork, target: str) -> bytes:
    """A datagram as a guest sends it: virtio's header, Ethernet to the gateway's bridge, IPv4, UDP."""
    own = guest.addresses[0].ip.packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 36, 1, 0, 64, 17, 0) + own + IPv4Address(target).packed
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    return (
        bytes(10)
        + _GROUP_MAC
        + mac
        + b"\x08\x00"
        + head
        + struct.pack("!HHHH8s", 5000, 5000, 16, 0, b"whatever")
    )


async def quietly(network: Network, key: str, asked: NetworkRequest | None = None) -> None:
    with suppress(MonocoreError):
        if asked is None:
            await network.detach(key)
        else:
            await network.attach(key, asked)


async def settled(state: Path, wanted: dict[str, str]) -> dict[str, str]:
    """The namespace once empty bridges have been tidied away, which nobody waits for."""
    for _ in range(100):
        found = Inside(state).everything()
        if found == wanted:
            return found
        await asyncio.sleep(0.05)
    return Inside(state).everything()


def runs(number: int) -> bool:
    """Whether a process is there, and not only its remains."""
    try:
        return Path("/proc", str(number), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes(state: Path) -> list[tuple[int, int]]:
    """(number, parent's number) of this home's keepers."""
    found: list[tuple[int, int]] = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if b"monocore_net_tap.keeper" in words and os.fsencode(state) in words:
                status = (path / "stat").read_text().rpartition(")")[2].split()
                found.append((int(path.name), int(status[1])))
    return found


def kill(state: Path, *, parent: bool) -> None:
    """The keeper; and its parent first, or the parent alone has to start it again."""
    found = processes(state)
    numbers = {number for number, _ in found}
    for number, above in found:
        if above in numbers or parent:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


async def ended(state: Path) -> None:
    """Wait until the keeper has ended by itself."""
    for _ in range(200):
        if not processes(state):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"keepers are left: {processes(state)}")
