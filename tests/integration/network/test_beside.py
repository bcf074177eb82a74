"""net_tap beside other programs' firewalls: theirs are left alone, ours comes back, and where theirs drops, another uplink is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.network.conftest import require_network
from tests.integration.network.world import ROOT, ROUTER, World, what_is_left, world

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("nft", "nftables"),
    pytest.mark.needs("ip", "iproute2"),
    pytest.mark.needs("gcc", "gcc"),
]
_OBSTACLE = "from monocore_net_tap.forwarding import obstacle; print(obstacle())"
_UPLINK = (
    "from monocore_net_tap.choice import uplink; from monocore_net_tap.options import UplinkKind; from pathlib import Path;"
    "kind, why = uplink(UplinkKind.AUTO, Path(), rootless=False); print(kind, *(why or ()))"
)
_DOCKER = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
_FIREWALLD = "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy accept; reject; }; }"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("beside")
    require_network(folder)
    with world(folder) as found:
        yield found


@pytest.fixture(scope="module")
def result(made: World, image: Path) -> dict[str, Any]:
    words = [
        sys.executable,
        "-m",
        "tests.integration.network.beside",
        str(made.folder),
        f"oci-archive:{image}",
    ]
    done = subprocess.run(
        made.host.words(*words),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((made.folder / "result.json").read_text())
    return found


def test_a_reload_of_the_hosts_firewall_is_survived(result: dict[str, Any]) -> None:
    """``nft flush ruleset`` removes our table on the host, too; what the policy denies is enforced elsewhere, and stays denied."""
    wanted = {"the internet": True, "the host": False, "the LAN": False, "published, from beyond": True}
    assert result["at first"] == wanted
    assert result["after a reload"] == wanted


def test_other_programs_tables_stay_as_they_are(result: dict[str, Any]) -> None:
    assert result["foreign before"] == result["foreign beside us"] == result["foreign after"]
    assert result["ours at the end"] == ""


def test_the_hosts_settings_stay_as_they_are(result: dict[str, Any]) -> None:
    """Not even while there are sandboxes: forwarding is set on our own interface alone."""
    assert "net.ipv4.conf.lan0.forwarding" in result["sysctls before"]
    assert result["sysctls before"] == result["sysctls beside us"] == result["sysctls after"]


def test_a_firewall_that_forwards_for_nobody_is_gone_round(made: World, result: dict[str, Any]) -> None:
    """Nothing in our tables could let through what Docker's or firewalld's drop: the sandboxes leave as the host's own traffic."""
    del result  # its sandbox is gone
    python = sys.executable

    def asked(code: str) -> str:
        return made.host.run(python, "-c", code).strip()

    made.host.run("nft", "flush", "ruleset")
    assert asked(_OBSTACLE) == "None"
    assert asked(_UPLINK) == "veth"
    for table, name in ((_DOCKER, "ip filter"), (_FIREWALLD, "inet firewalld")):
        made.host.run("sh", "-c", f"echo '{table}' | nft -f -")
        assert name in asked(_OBSTACLE)
        assert asked(_UPLINK).startswith("slirp4netns not veth the firewall of the host")
        made.host.run("nft", "delete", "table", *name.split())
    made.host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    assert "does not forward IPv4 on lan0" in asked(_OBSTACLE)
    made.host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    made.host.run("ip", "route", "del", "default")
    assert asked(_OBSTACLE) == "the host has no default route"
    made.host.run("ip", "route", "add", "default", "via", ROUTER[0])


def test_many_attachments_change_the_hosts_table_one_after_another(
    made: World, result: dict[str, Any]
) -> None:
    """libnftables ends the process when two threads use one context: the keeper looks at the table where it changes it."""
    del result  # its sandbox is gone
    words = [sys.executable, "-m", "tests.integration.network.many", str(made.folder), "60"]
    assert made.host.run("env", f"PYTHONPATH={ROOT}", *words) == ""


def test_nothing_is_left(made: World, result: dict[str, Any]) -> None:
    del result
    assert what_is_left(made, made.folder) == ""
