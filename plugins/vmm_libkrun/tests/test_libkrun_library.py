"""The real library, as far as it goes without virtualisation: found, bound, every call made; and a fork server that survives its children."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from monocore_vmm_libkrun import CAPABILITIES, PROVIDER
from monocore_vmm_libkrun.binding import CallFailed, Krun
from monocore_vmm_libkrun.calls import Call, build_calls
from monocore_vmm_libkrun.forks import ForkServer
from monocore_vmm_libkrun.library import Libraries, find
from monocore_vmm_libkrun.machine import classify
from monocore_vmm_libkrun.options import KrunOptions
from monocore_vmm_libkrun.probe import problem

from monocore_core.errors import MachineError
from monocore_core.interfaces.provider import Host
from monocore_core.model.machine import Disk, MachineEnd, MachineSpec, Share
from monocore_core.model.network import Tap
from monocore_core.model.rootfs import DiskFormat
from monocore_core.vmmkit.process import start_time


@pytest.fixture(scope="session")
def libraries() -> Libraries:
    found = find(KrunOptions())
    if found is None or found.firmware is None:
        pytest.skip("libkrun is not installed (pip install monocore-vmm-libkrun[bundled])")
    return found


@pytest.fixture
async def server(libraries: Libraries) -> AsyncIterator[ForkServer]:
    started = await ForkServer.start(libraries, Path(sys.executable))
    try:
        yield started
    finally:
        await started.close()


def spec_of(folder: Path) -> MachineSpec:
    (folder / "boot").write_bytes(bytes(1 << 20))
    (folder / "disk").write_bytes(bytes(1 << 20))
    (folder / "share").mkdir()
    return MachineSpec(
        key="k",
        architecture="amd64",
        vcpus=1,
        memory=128 << 20,
        boot=folder / "boot",
        directory=folder,
        console=folder / "console.log",
        disks=(
            Disk("root", folder / "disk", DiskFormat.VMDK),
            Disk("upper", folder / "disk", readonly=False),
            Disk("q", folder / "disk", DiskFormat.QCOW2),
        ),
        shares=(Share("a", folder / "share"), Share("b", folder / "share", readonly=False)),
        attachment=Tap("tap0", "02:00:00:00:00:01"),
    )


def test_every_call_of_a_full_machine_is_taken_by_the_library(libraries: Libraries, tmp_path: Path) -> None:
    krun = Krun(libraries.krun, libraries.firmware)
    options = KrunOptions(smbios=("one", "two"))
    spec = spec_of(tmp_path)
    calls = build_calls(spec, options, krun.symbols, spec.shares)
    context = 0
    for call in calls[:-1]:
        result = krun.call(call.name, context, call.arguments)
        context = result if call.name == "krun_create_ctx" else context
    assert krun.call("krun_free_ctx", context, ()) == 0


def test_what_the_library_refuses_is_named(libraries: Libraries) -> None:
    krun = Krun(libraries.krun, libraries.firmware)
    with pytest.raises(CallFailed, match=r"krun_set_vm_config: .*ENOENT"):
        krun.call("krun_set_vm_config", 4_000_000, (1, 128))
    with pytest.raises(OverflowError):
        krun.call("krun_set_vm_config", 0, (1000, 128))
    with pytest.raises(ValueError, match="too many"):
        krun.call("krun_create_ctx", 0, (1,))


async def test_the_server_hands_out_processes_that_say_which_call_failed(
    server: ForkServer, tmp_path: Path
) -> None:
    assert "krun_start_enter" in server.symbols
    sink = os.open(tmp_path / "console", os.O_WRONLY | os.O_CREAT)
    wrong = (Call("krun_create_ctx"), Call("krun_add_vsock", (1 << 20,)), Call("krun_start_enter"))
    try:
        for calls, message in (
            (wrong, r"libkrun: krun_add_vsock: Invalid argument \(EINVAL\)"),
            ((Call("krun_no_such_call"), wrong[-1]), "libkrun: krun_no_such_call: .*ENOSYS"),
            ((Call("krun_create_ctx", (1,)), wrong[-1]), "too many arguments"),
        ):
            with pytest.raises(MachineError, match=message):
                await server.fork(tmp_path, calls, sink)
    finally:
        os.close(sink)


async def test_the_end_of_a_machine_is_reported(server: ForkServer, tmp_path: Path) -> None:
    """A context that does not exist: ``krun_start_enter`` comes back, which is how every failure of it ends."""
    console = tmp_path / "console"
    sink = os.open(console, os.O_WRONLY | os.O_CREAT)
    try:
        forked = await server.fork(tmp_path, (Call("krun_start_enter"),), sink)
        async with asyncio.timeout(20):
            assert await forked.status == 125
            await forked.process.wait()
    finally:
        os.close(sink)
    assert "krun_start_enter: No such file or directory (ENOENT)" in console.read_text()
    assert start_time(forked.process.pid) is None


async def test_the_server_that_dies_takes_nobody_by_surprise(libraries: Libraries, tmp_path: Path) -> None:
    server = await ForkServer.start(libraries, Path(sys.executable))
    sink = os.open(tmp_path / "console", os.O_WRONLY | os.O_CREAT)
    try:
        server.process.signal(signal.SIGKILL)
        await server.process.wait()
        with pytest.raises(MachineError, match="the process that starts machines ended"):
            await server.fork(tmp_path, (Call("krun_start_enter"),), sink)
        assert not server.alive
    finally:
        os.close(sink)
        await server.close()
        await server.close()


async def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "libkrun.so"
    nonsense.write_text("not a library")
    with pytest.raises(MachineError, match=r"libkrun cannot be loaded: .*libkrun\.so"):
        await ForkServer.start(Libraries(nonsense, None), Path(sys.executable))


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monocore_vmm_libkrun.library._wheel", lambda: None)
    assert find(KrunOptions(), system="linux", root=tmp_path) is None
    folder = tmp_path / "usr/lib64"
    folder.mkdir(parents=True)
    for name in ("libkrun.so.1", "libkrun.so", "libkrunfw.so.4"):
        (folder / name).touch()
    assert find(KrunOptions(), system="linux", root=tmp_path) == Libraries(
        folder / "libkrun.so.1", folder / "libkrunfw.so.4"
    )
    mac = tmp_path / "opt/homebrew/lib"
    mac.mkdir(parents=True)
    (mac / "libkrun.dylib").touch()
    assert find(KrunOptions(), system="darwin", root=tmp_path) == Libraries(mac / "libkrun.dylib", None)
    configured = find(KrunOptions(library=folder / "libkrun.so"), system="linux", root=tmp_path)
    assert configured == Libraries(folder / "libkrun.so", folder / "libkrunfw.so.4")
    assert find(KrunOptions(library=tmp_path / "missing"), system="linux", root=tmp_path) is None


def test_why_a_host_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monocore_vmm_libkrun.library._wheel", lambda: None)
    folder = tmp_path / "usr/lib"
    folder.mkdir(parents=True)

    def said() -> str:
        found = problem(KrunOptions(), tmp_path, "linux")
        return found.reason if found else ""

    assert said() == "libkrun is not installed"
    (folder / "libkrun.so").touch()
    assert "libkrunfw" in said()
    (folder / "libkrunfw.so.5").touch()
    assert said() == "/dev/kvm does not exist"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kvm").touch()
    assert "kvm_intel" in said()
    (tmp_path / "sys/module/kvm_pvm").mkdir(parents=True)
    assert "kvm_pvm" in said()
    (tmp_path / "sys/module/kvm_amd").mkdir(parents=True)
    assert said() == ""
    missing = problem(KrunOptions(library=tmp_path / "no.so"), tmp_path, "linux")
    assert missing is not None
    assert missing.reason.endswith("does not exist")


@pytest.mark.parametrize(
    ("status", "ours", "end", "words"),
    [
        (0, False, MachineEnd.SHUTDOWN, "ended itself"),
        (0, True, MachineEnd.SHUTDOWN, "ended itself"),
        (-9, True, MachineEnd.KILLED, "on request"),
        (-9, False, MachineEnd.FAILED, "signal SIGKILL: last"),
        (125, False, MachineEnd.FAILED, "status 125: last"),
        (None, False, MachineEnd.FAILED, "nobody knows"),
    ],
)
def test_why_it_ended(status: int | None, ours: bool, end: MachineEnd, words: str) -> None:
    found = classify(status, ours=ours, words="last")
    assert found.end is end
    assert words in found.detail


def test_the_probe_answers_here(tmp_path: Path) -> None:
    found = PROVIDER.probe(Host(tmp_path, tmp_path), KrunOptions())
    assert found is None or found.reason
    assert PROVIDER.capabilities == CAPABILITIES


def test_macos_needs_the_library_alone(tmp_path: Path) -> None:
    library = tmp_path / "libkrun.dylib"
    options = KrunOptions(library=library, kernel=library)
    assert problem(options, tmp_path, "darwin") is not None
    library.touch()
    assert problem(options, tmp_path, "darwin") is None
