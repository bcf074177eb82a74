"""Sandboxes reach exactly what their owner allows: real VMs, and namespaces that stand for the host, its LAN and the internet.

The same sandboxes and the same expectations as root over a veth pair, and as an ordinary user over slirp4netns; over pasta where that is asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest

from monocore_core.model.policy import Action, Destination, Protocol, parse_policy
from tests.integration.network.conftest import require_network
from tests.integration.network.frames import named
from tests.integration.network.outside import PORT
from tests.integration.network.scenario import RULES
from tests.integration.network.world import ROOT, World, what_is_left, world

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("slirp4netns", "slirp4netns"),
    pytest.mark.needs("nft", "nftables"),
    pytest.mark.needs("ip", "iproute2"),
    pytest.mark.needs("gcc", "gcc"),
]
_WITHIN = 240
#: When set, the matrix is run over pasta, too: what it echoes, and how quick it is, differs from one of its versions and hosts to the next.
WITH_PASTA = "MONOCORE_TEST_PASTA"


@attrs.frozen
class Mode:
    """Who runs the sandboxes, and over what."""

    uplink: str
    rootless: bool

    @property
    def pinged(self) -> set[str]:
        """What can be pinged where everything is allowed.

        slirp4netns has no echo of IPv6; Debian 12's pasta binds its own to the interface of the default route.
        """
        if self.uplink == "pasta":
            return {"router", "host6"}
        found = {"router", "host", "host elsewhere"}
        return found | {"host6", "host elsewhere6"} if self.uplink == "veth" else found


MODES = {
    "veth": Mode("veth", rootless=False),
    "slirp4netns": Mode("slirp4netns", rootless=True),
}
if os.environ.get(WITH_PASTA):
    MODES["pasta"] = Mode("pasta", rootless=True)


@attrs.frozen
class Seen:
    """What a scenario saw, and what stood around it."""

    mode: Mode
    result: dict[str, Any]
    world: World
    left: str


@pytest.fixture(scope="module", params=list(MODES.values()), ids=list(MODES))
def seen(
    request: pytest.FixtureRequest, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    mode: Mode = request.param
    folder = tmp_path_factory.mktemp("world")
    require_network(folder)
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if mode.rootless else []
    with world(folder) as made:
        words = [
            *user,
            sys.executable,
            "-m",
            "tests.integration.network.scenario",
            str(folder),
            mode.uplink,
            f"oci-archive:{image}",
        ]
        done = subprocess.run(
            made.host.words(*words),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            check=False,
        )
        logs = "".join(path.read_text() for path in folder.glob("home/**/keeper.log"))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
        assert not logs, logs
        yield Seen(mode, json.loads((folder / "result.json").read_text()), made, what_is_left(made, folder))


def test_each_policy_reaches_what_it_allows_and_nothing_else(seen: Seen) -> None:
    everywhere = {
        "member tcp",
        "member udp",
        "member ping",
        "member6 tcp",
        "member6 udp",
        "member6 ping",
        "gateway ping",
        "gateway6 ping",
    }
    everywhere |= {"fragments to the member"}
    internet = {f"internet{six} {kind}" for six in ("", "6") for kind in ("tcp", "udp")}
    internet |= {"dns gateway", "tcp dns gateway"}
    beyond = (
        "metadata",
        "ten",
        "seventeen",
        "lan",
        "cgnat",
        "ula",
        "host",
        "host6",
        "host elsewhere",
        "host elsewhere6",
        "router",
    )
    rest = {f"{name} {kind}" for name in beyond for kind in ("tcp", "udp")}
    rest |= {f"{by}dns {server}" for server in ("router", "internet") for by in ("", "tcp ")}
    rest |= {f"{name} ping" for name in seen.mode.pinged}
    if seen.mode.uplink == "veth":
        rest |= {"host's end of veth tcp", "host's end of veth udp"}
    expected = {"local": everywhere, "public": everywhere | internet, "all": everywhere | internet | rest}
    for policy, wanted in expected.items():
        verdicts = seen.result["reach"][policy]
        reached = {target for target, yes in verdicts.items() if yes}
        assert reached == wanted, policy


def test_rules_decide_as_the_model_says(seen: Seen) -> None:
    """Compared with :meth:`Policy.decide`, for every target that answers a sandbox which may reach everything."""
    policy = parse_policy("public", RULES)
    verdicts = seen.result["reach"]["ruled"]
    there = {
        name
        for name, yes in seen.result["reach"]["all"].items()
        if yes and name.split()[-1] in ("tcp", "udp", "ping")
    }
    expected: dict[str, bool] = {}
    for name in there - {"gateway ping", "gateway6 ping"}:
        target, _, kind = name.rpartition(" ")
        protocol = Protocol.ICMP if kind == "ping" else Protocol(kind)
        to = Destination(
            ip_address(seen.result["targets"][target]),
            protocol,
            0 if kind == "ping" else PORT,
            group=target.startswith("member"),
            host=target.startswith("host"),
        )
        expected[name] = policy.decide(to)[0] is Action.ALLOW
    assert {name: verdicts[name] for name in expected} == expected
    assert {True, False} <= set(expected.values())


def test_no_forged_frame_arrives_anywhere(seen: Seen) -> None:
    found = seen.result["forged"]
    assert len(found["sent"]) >= 25
    assert set(found["seen"]["member"]) == {"honest to the member"}
    assert not found["seen"]["stranger"]
    assert not found["seen"]["public"]
    assert {_named(line) for line in seen.world.seen("beyond")} == {"honest to the internet"}
    host = {_named(line) for line in seen.world.seen("host")}
    # over a veth pair the host forwards, so that what it does not pass on comes to it: the policy is the one that allows the host
    assert host <= {"honest to the internet"} | (
        {"broadcast of the LAN"} if seen.mode.uplink == "veth" else set()
    )


def test_names_open_what_they_lead_to_for_their_time(seen: Seen) -> None:
    assert seen.result["names"] == {
        "before": False,
        "past the resolver": False,
        "past the resolver by TCP": False,
        "still before": False,
        "resolved": True,
        "after": True,
        "another port": False,
        "another sandbox": False,
        "a name that is not allowed": False,
        "a private address by a name": False,
        "after its time": False,
    }


def test_published_ports_are_reached_from_everywhere_they_should(seen: Seen) -> None:
    found = seen.result["published"]
    for kind in ("tcp", "udp"):
        assert found.pop(f"{kind} of loopback from beyond") != "ok"
    assert len(found) == 14
    assert set(found.values()) == {"ok"}, found


def test_limits_hold(seen: Seen) -> None:
    for way, parts in seen.result["limits"].items():
        assert max(parts) <= 1.1, f"{way}: {parts} of the limit"
        if (seen.mode.uplink, way) != (
            "pasta",
            "pull",
        ):  # Debian 12's does not slow down when packets are lost
            assert max(parts) >= 0.9, f"{way}: {parts} of the limit"


def test_a_port_that_another_sandbox_has_is_refused_before_anything_starts(seen: Seen) -> None:
    assert seen.result["ports"].startswith("Conflict: port ")
    assert "published by sandbox" in seen.result["ports"]


def test_nothing_is_left_on_the_host(seen: Seen) -> None:
    assert seen.left == ""


def _named(line: str) -> str:
    return named(bytes.fromhex(line.split()[1]))
