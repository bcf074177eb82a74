"""The namespace after many sandboxes, and after its keeper was killed at any moment: as it was before."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.errors import Conflict, MonocoreError
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host
from monocore_core.model.network import Limits, NetworkRequest, Publish
from monocore_core.model.policy import parse_policy

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.needs("slirp4netns", "slirp4netns"),
    pytest.mark.needs("ip", "iproute2"),
]
OPTIONS = TapOptions(uplink=UplinkKind.SLIRP, linger=0.2)
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
        assert Inside(host.state).everything() == before
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


async def test_a_keeper_ends_with_its_folder(host: Host) -> None:
    async with PROVIDER.create(host, OPTIONS) as network:
        await network.attach("forgotten", NetworkRequest("", "forgotten", parse_policy("public")))
        holder = Inside(host.state).pid
    shutil.rmtree(host.state)
    await ended(host.state)
    assert not runs(holder)


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
