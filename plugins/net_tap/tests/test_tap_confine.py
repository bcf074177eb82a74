"""The jail of slirp4netns: as a value, as it runs, and where there is none; and the resolvers that it is shown."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from attrs import evolve
from monocore_net_tap import PROVIDER
from monocore_net_tap.holder import Holder
from monocore_net_tap.options import TapOptions, UplinkKind
from monocore_net_tap.uplink.confine import CALLS, EXCUSED, jail_of_slirp
from monocore_net_tap.uplink.resolvers import ResolverFile

from monocore_core.errors import MonocoreError
from monocore_core.interfaces.provider import Host
from monocore_core.jail import Namespaces
from monocore_core.jail.seccomp import compile_filter
from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import parse_policy
from monocore_core.model.security import ALWAYS, JailMode, Layer, Security

OPTIONS = TapOptions(uplink=UplinkKind.SLIRP, linger=0.2)
REQUEST = NetworkRequest("", "one", parse_policy("public"))


@pytest.mark.parametrize("rootless", [True, False])
def test_it_sees_its_program_and_the_resolvers(tmp_path: Path, rootless: bool) -> None:
    program, resolvers = Path("/usr/bin/slirp4netns"), tmp_path / "resolv.conf"
    jail = jail_of_slirp(program, Holder(7, 1, ""), tmp_path, resolvers, rootless=rootless)
    assert program in jail.shown
    assert jail.placed == ((resolvers, Path("/etc/resolv.conf")),)
    assert not any(path.is_relative_to("/home") or path == Path("/") for path in jail.shown)
    assert jail.namespaces >= Namespaces.MOUNT | Namespaces.PROCESSES | Namespaces.IPC
    assert Namespaces.NETWORK not in jail.namespaces
    assert jail.join == (Path("/proc/7/ns/user") if rootless else None)
    assert (Layer.USER in jail.excused) is not rootless
    assert jail.layers(landlock=False) | jail.excused >= ALWAYS


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_list_of_calls_compiles(machine: str) -> None:
    assert compile_filter(CALLS, machine) is not None
    assert not {"execveat", "ptrace", "process_vm_readv", "kill", "bpf", "open_by_handle_at"} & CALLS.allowed


def test_resolvers_follow_the_hosts(tmp_path: Path) -> None:
    host, folder = tmp_path / "host.conf", tmp_path / "state"
    folder.mkdir()
    copied = ResolverFile(folder, host)
    assert copied.path.read_text() == ""
    number = copied.path.stat().st_ino
    host.write_text("nameserver 192.0.2.1\n")
    copied.refresh()
    assert copied.path.read_text() == "nameserver 192.0.2.1\n"
    other = tmp_path / "other.conf"
    other.write_text("nameserver 192.0.2.22\n")
    other.replace(host)  # as programs do
    copied.refresh()
    assert copied.path.read_text() == "nameserver 192.0.2.22\n"
    host.unlink()
    copied.refresh()
    assert copied.path.read_text() == ""
    assert copied.path.stat().st_ino == number, "what is shown in a jail stays the file that it was"
    copied.close()
    assert not copied.path.exists()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    state = tmp_path / "s"
    state.mkdir(mode=0o700)
    host = Host(state, tmp_path)
    if (problem := PROVIDER.probe(host, OPTIONS)) is not None:
        pytest.skip(f"net_tap: {problem.reason}")
    return host


def _slirp(state: Path) -> Path:
    """Its process, by the log that it writes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.joinpath("fd/2").readlink() == state / "slirp.log":
                return folder
        except OSError:  # ended meanwhile, or another user's
            continue
    raise AssertionError("slirp4netns does not run")


@pytest.mark.integration
@pytest.mark.needs("slirp4netns", "slirp4netns")
async def test_what_carries_packets_is_confined(host: Host) -> None:
    host = evolve(host, security=Security(JailMode.REQUIRE))
    async with PROVIDER.create(host, OPTIONS) as network:
        await network.attach("key", REQUEST)
        status = await network.inspect("key")
        assert status is not None
        layers = frozenset(map(Layer, dict(status.facts)["jail of the uplink"].split(", ")))
        assert layers | EXCUSED | {Layer.USER} >= ALWAYS
        process = await asyncio.to_thread(_slirp, host.state)
        lines = (process / "status").read_text().splitlines()
        found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert {int(found[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {1 << 10}
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        assert (process / "environ").read_bytes() == b""
        for name in ("mnt", "pid", "ipc", "uts"):
            assert os.readlink(process / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")  # noqa: PTH115
        assert sorted(os.listdir(process / "root")) == ["etc", "run"]  # noqa: PTH208
        assert set(os.listdir(process / "root/etc")) <= {"ld.so.cache", "resolv.conf"}  # noqa: PTH208
        await network.detach("key")


@pytest.mark.integration
@pytest.mark.needs("slirp4netns", "slirp4netns")
async def test_without_a_jail_it_says_so_or_refuses(host: Host) -> None:
    async with PROVIDER.create(evolve(host, security=Security(JailMode.OFF)), OPTIONS) as network:
        await network.attach("key", REQUEST)
        status = await network.inspect("key")
        assert status is not None
        assert dict(status.facts)["jail of the uplink"] == "none: switched off"
        await network.detach("key")
    required = Security(JailMode.OFF, (Layer.FILES, Layer.NETWORK))
    state = host.state.parent / "t"
    state.mkdir()
    async with PROVIDER.create(evolve(host, state=state, security=required), OPTIONS) as network:
        with pytest.raises(MonocoreError, match="requires of the jail of slirp4netns: files; switched off"):
            await network.attach("key", REQUEST)
