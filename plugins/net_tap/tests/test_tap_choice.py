"""Which uplink is taken, and that a pasta which carries nothing is passed over."""

from __future__ import annotations

import os
import shutil
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from monocore_net_tap import choice
from monocore_net_tap.holder import Holder
from monocore_net_tap.options import UplinkKind
from monocore_net_tap.uplink import pasta, trial

from monocore_core.errors import Unsupported

HOLDER = Holder(4711, 1, "boot")
NETWORK = IPv4Network("10.0.200.0/24")
#: Does what a good one does for its command, in no namespace at all: the gateway's address is taken for the loopback's.
_CARRIES = """#!{python}
import os, sys
words = sys.argv[sys.argv.index("--") + 1:]
os.execv(words[0], ["127.0.0.1" if word == "10.0.2.2" else word for word in words])
"""
_COUNTS = "#!/bin/sh\necho tried >> {log}\nexec sleep 60\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, which is the whole PATH; ordinary users ask."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "sleep"):
        (folder / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return folder


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def test_slirp4netns_comes_first(programs: Path, tmp_path: Path) -> None:
    put(programs, "slirp4netns", "#!/bin/sh\n")
    put(programs, "pasta", _COUNTS.format(log=tmp_path / "log"))
    assert choice.uplink(UplinkKind.AUTO, tmp_path, rootless=True) == (UplinkKind.SLIRP, None)
    assert not (tmp_path / "log").exists()


def test_without_slirp4netns_a_pasta_that_carries_is_taken(programs: Path, tmp_path: Path) -> None:
    put(programs, "pasta", _CARRIES.format(python=sys.executable))
    assert choice.uplink(UplinkKind.AUTO, tmp_path, rootless=True) == (UplinkKind.PASTA, None)


def test_a_pasta_that_carries_nothing_is_tried_once_and_passed_over(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_WITHIN", 0.3)
    log = tmp_path / "log"
    put(programs, "pasta", _COUNTS.format(log=log))
    for _ in range(2):
        problem = choice.obstacle(UplinkKind.AUTO, tmp_path, rootless=True)
        assert problem is not None
        assert problem.reason == (
            "slirp4netns is not installed; pasta is installed, but no packet gets through it on this kernel"
        )
        assert problem.hint == "apt-get install slirp4netns"
    assert log.read_text() == "tried\n"
    with pytest.raises(Unsupported, match="no packet gets through"):
        choice.uplink(UplinkKind.PASTA, tmp_path, rootless=True)
    put(programs, "pasta", _CARRIES.format(python=sys.executable))  # another one is tried anew
    assert choice.obstacle(UplinkKind.PASTA, tmp_path, rootless=True) is None


def test_what_is_missing_is_named(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = choice.obstacle(UplinkKind.AUTO, tmp_path, rootless=True)
    assert problem is not None
    assert problem.reason == "slirp4netns is not installed"
    problem = choice.obstacle(UplinkKind.PASTA, tmp_path, rootless=True)
    assert problem is not None
    assert problem.reason == "pasta is not installed"
    assert choice.obstacle(UplinkKind.VETH, tmp_path, rootless=True) is not None
    assert choice.obstacle(UplinkKind.NONE, tmp_path, rootless=True) is None
    assert choice.obstacle(UplinkKind.AUTO, tmp_path, rootless=False) is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    put(programs, "pasta", _COUNTS.format(log=tmp_path / "log"))
    problem = choice.obstacle(UplinkKind.PASTA, tmp_path, rootless=False)
    assert problem is not None
    assert problem.reason == "pasta serves ordinary users alone"
    assert not (tmp_path / "log").exists()


def test_pasta_is_told_to_carry_packets_and_no_more() -> None:
    words = pasta.command("/usr/bin/pasta", HOLDER, NETWORK, six=False, resolver=IPv4Address("10.0.200.3"))
    assert words[0] == "/usr/bin/pasta"
    assert {
        "--foreground", "--config-net", "--ipv4-only", "--no-map-gw", "--tcp-ports=none", "--udp-ports=none",
        "--tcp-ns=none", "--udp-ns=none", "--ns-ifname=up0", "--address=10.0.200.100", "--netmask=24",
        "--gateway=10.0.200.2", "--dns-forward=10.0.200.3", "--userns=/proc/4711/ns/user",
        "--netns=/proc/4711/ns/net",
    } <= set(words)  # fmt: skip
    words = pasta.command("pasta", HOLDER, NETWORK, six=True, resolver=None)
    assert {"--address=fd00::100", "--gateway=fd00::2"} <= set(words)
    assert not {word for word in words if word.startswith(("--ipv4-only", "--dns-forward", "--no-ndp"))}
