"""The pieces that touch the host: channel, console, processes, sockets, records, probe, and the provider itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from monocore_vmm_qemu import PROVIDER, sockets
from monocore_vmm_qemu.ending import Evidence, classify, panic_of
from monocore_vmm_qemu.options import AccelChoice, QemuOptions
from monocore_vmm_qemu.probe import probe
from monocore_vmm_qemu.records import Record, Records

from monocore_core.errors import InvalidInput, MachineError
from monocore_core.interfaces.provider import Host
from monocore_core.model.machine import MachineEnd
from monocore_core.vmmkit import console, process
from monocore_core.vmmkit.channel import SocketChannel

MIB = 1024 * 1024


async def test_channel_carries_every_byte() -> None:
    ours, theirs = socket.socketpair()
    one, two = SocketChannel(ours, "k"), SocketChannel(theirs, "k")
    pieces = [os.urandom(size) for size in (1, 0, 70_000, 3, 5 * MIB, 17)] + [b"x"] * 1000

    async def receive(size: int) -> bytes:
        got = bytearray()
        while len(got) < size:
            got += await two.read(256 * 1024)
        return bytes(got)

    whole = b"".join(pieces)
    async with asyncio.timeout(20):
        _, got = await asyncio.gather(one.write(*pieces), receive(len(whole)))
        assert got == whole
        await one.aclose()
        await one.aclose()
        assert await two.read(10) == b""
        with pytest.raises(MachineError):
            await two.write(b"x")
        with pytest.raises(MachineError):
            await one.write(b"x")
    await two.aclose()


async def test_channel_closed_while_someone_reads() -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, "k")
    reading = asyncio.create_task(channel.read(10))
    await asyncio.sleep(0)
    await channel.aclose()
    async with asyncio.timeout(5):
        assert await reading == b""
    theirs.close()


async def test_a_write_cut_in_two_closes_the_channel() -> None:
    ours, theirs = socket.socketpair()
    channel = SocketChannel(ours, "k")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await channel.write(bytes(64 * MIB))
    with pytest.raises(MachineError):
        await channel.write(b"x")
    theirs.close()


async def test_console_is_bounded_and_keeps_the_end(tmp_path: Path) -> None:
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    path = tmp_path / "console.log"
    pump = console.ConsolePump(read, path, 4096, fresh=True)
    for number in range(2000):
        os.write(write, f"line {number}\n".encode())
        pump.tail()
        assert path.stat().st_size <= 4096
    os.write(write, b"\x1b[31mred\x07\n")
    assert pump.tail().endswith("line 1999\n[31mred\n")
    os.close(write)
    pump.close()
    pump.close()
    assert pump.tail(9).endswith("[31mred\n"), "what it ended with can still be asked"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_console_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "console.log").symlink_to(tmp_path / "elsewhere")
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with pytest.raises(OSError, match="symbolic links"):
        console.ConsolePump(read, tmp_path / "console.log", 4096, fresh=True)
    os.close(read)
    os.close(write)


async def test_spawned_process_status_and_descriptors() -> None:
    read, write = os.pipe2(os.O_CLOEXEC)
    script = f"import os; os.write({write}, b'hi'); os.write(2, b'words'); raise SystemExit(7)"
    for tied in (False, True):
        errors, theirs = os.pipe2(os.O_CLOEXEC)
        child = process.spawn([sys.executable, "-c", script], stderr=theirs, inherit=(write,), tied=tied)
        async with asyncio.timeout(20):
            await asyncio.gather(child.wait(), child.wait())
        assert child.status == 7
        assert (os.read(read, 10), os.read(errors, 10)) == (b"hi", b"words")
        child.signal(signal.SIGKILL)
        child.release()
        for end in (errors, theirs):
            os.close(end)
    os.close(read)
    os.close(write)


async def test_a_signal_is_told_and_a_process_adopted() -> None:
    child = process.spawn(["/bin/sleep", "60"], stderr=2, inherit=(), tied=False)
    assert process.adopt(child.pid, child.started + 1) is None
    adopted = process.adopt(child.pid, child.started)
    assert adopted is not None
    adopted.signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await adopted.wait()
        await child.wait()
    assert child.status == -signal.SIGTERM
    assert adopted.status is None
    assert process.adopt(child.pid, child.started) is None


def settled(group: Path) -> bool:
    """Wait until it is set, on a host that has it."""
    deadline = time.monotonic() + 20
    while group.exists() and not group.read_text().endswith("nice 7\n"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def test_one_gives_way_and_so_does_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    child = process.spawn(["/bin/sleep", "60"], stderr=2, inherit=(), tied=False)
    group = Path(f"/proc/{child.pid}/autogroup")
    refused = 2

    def write(path: Path, text: str) -> int:
        nonlocal refused
        if path == group and refused:
            refused -= 1
            raise BlockingIOError  # as an ordinary user who has just set others
        return real(path, text)

    real = Path.write_text
    monkeypatch.setattr(Path, "write_text", write)
    try:
        process.give_way(child, 7)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 7
        assert await asyncio.to_thread(settled, group)
        assert not refused or not await asyncio.to_thread(group.exists)
    finally:
        child.signal(signal.SIGKILL)
        await child.wait()
    process.give_way(child, 7)


async def test_a_program_that_is_missing() -> None:
    with pytest.raises(MachineError, match="No such file"):
        process.spawn(["/nonexistent/qemu"], stderr=2, inherit=(), tied=False)


def test_sockets_in_a_long_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    for _ in range(2):  # one that was left is replaced
        with sockets.listen(folder, "a.sock") as listener, sockets.connect(folder, "a.sock") as connected:
            accepted, _ = listener.accept()
            connected.send(b"x")
            assert accepted.recv(1) == b"x"
            accepted.close()
    with pytest.raises(MachineError, match="could not be connected"):
        sockets.connect(folder, "a.sock")


def test_records(tmp_path: Path) -> None:
    records = Records(tmp_path / "machines")
    record = Record(1, 2, "b", "k", kvm=True, console_fd=3, words_fd=4)
    assert records.read("a") is None
    records.write("a", record)
    assert records.read("a") == record
    for text in ("", "[]", '{"pid": -1}', '{"pid": "1"}', "{" * 10_000):
        (tmp_path / "machines/a.json").write_text(text)
        assert records.read("a") is None
    records.begin("a")
    records.write("a", record)
    assert [path.name for path in (tmp_path / "machines").iterdir()] == ["a.json"]
    records.begin("b")
    for key in ("a", "b", "b"):
        records.remove(key)
    assert not list((tmp_path / "machines").iterdir())
    for key in ("", "../a", "a/b", ".a", "a" * 129, "a\n"):
        with pytest.raises(InvalidInput):
            records.read(key)


@pytest.mark.parametrize(
    ("evidence", "end", "words"),
    [
        (Evidence(0, "guest-reset", ours=False, words=""), MachineEnd.SHUTDOWN, "guest-reset"),
        (Evidence(None, "guest-shutdown", ours=True, words=""), MachineEnd.SHUTDOWN, "guest-shutdown"),
        (Evidence(0, "guest-reset", ours=False, words="", panic=""), MachineEnd.SHUTDOWN, "panicked"),
        (Evidence(0, "guest-reset", ours=False, words="", panic="why"), MachineEnd.SHUTDOWN, "panicked: why"),
        (Evidence(0, "host-qmp-quit", ours=True, words=""), MachineEnd.KILLED, "request"),
        (Evidence(-9, "", ours=True, words=""), MachineEnd.KILLED, "request"),
        (Evidence(-9, "", ours=False, words=""), MachineEnd.FAILED, "SIGKILL"),
        (Evidence(-99, "", ours=False, words=""), MachineEnd.FAILED, "99"),
        (Evidence(1, "", ours=False, words="no memory"), MachineEnd.FAILED, "status 1: no memory"),
        (Evidence(0, "host-signal", ours=False, words=""), MachineEnd.FAILED, "status 0"),
        (Evidence(None, "", ours=False, words=""), MachineEnd.FAILED, "nobody watched"),
    ],
)
def test_classification(evidence: Evidence, end: MachineEnd, words: str) -> None:
    found = classify(evidence)
    assert found.end is end
    assert words in found.detail


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("", None),
        ("[ 0.1] Kernel command line: panic=-1\nhello\n", None),
        ("Kernel panic - not syncing", ""),
        (
            "[ 0.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(254,0)\n[ 0.3] CPU: 0\n",
            "VFS: Unable to mount root fs on unknown-block(254,0)",
        ),
        (
            (
                "[ 4.3] traps: PANIC: double fault, error_code: 0x0\n[ 4.3] Oops: double fault: 0000 [#1] SMP NOPTI\n"
                "[ 4.3] Call Trace:\n[ 4.4] Kernel panic - not syncing: Fatal exception in interrupt\n"
            ),
            "Fatal exception in interrupt (double fault: 0000 [#1] SMP NOPTI)",
        ),
        (
            "[ 4.3] Internal error: Oops: 0000000096000004 [#1] SMP\n[ 4.4] Kernel panic - not syncing: Oops: Fatal exception\n",
            "Oops: Fatal exception (Oops: 0000000096000004 [#1] SMP)",
        ),
        ("Kernel panic - not syncing: " + "x" * 10_000, "x" * 200),
        ("Kernel panic - not syncing: one\nKernel panic - not syncing: two\nBUG: later\n", "two"),
    ],
)
def test_a_panic_is_told_in_the_kernels_words(console: str, why: str | None) -> None:
    assert panic_of(console) == why


def test_probe_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(tmp_path, tmp_path)
    problem = probe(host, QemuOptions(binary=tmp_path / "no-qemu"))
    assert problem is not None
    assert "plugins.vmm_qemu.binary" in problem.reason
    assert "no-qemu, which is no program" in problem.reason
    binary = tmp_path / "qemu"
    binary.write_text("")
    binary.chmod(0o755)
    problem = probe(host, QemuOptions(binary=binary, kernel=tmp_path / "no-kernel"))
    assert problem is not None
    assert "no-kernel does not exist" in problem.reason
    assert "pip install 'monocore-vmm-qemu[kernel]'" in problem.hint
    assert probe(host, QemuOptions(binary=binary, kernel=binary, accel=AccelChoice.TCG)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = probe(host, QemuOptions(binary=binary, kernel=binary))
    assert problem is not None
    assert "setpriv" in problem.reason
    started = time.monotonic()
    probe(host, QemuOptions())
    assert time.monotonic() - started < 0.5


def test_listing_the_plugin_is_cheap() -> None:
    heavy = "asyncio ctypes cffi json subprocess hashlib socket"
    script = f"import sys, monocore_vmm_qemu as m; assert m.monocore_vmms()[0].name == 'vmm_qemu'; print([w for w in '{heavy}'.split() if w in sys.modules and w not in base])"
    base = "import sys, monocore_core.hookspecs, monocore_core.interfaces.provider; base = set(sys.modules); "
    out = subprocess.run([sys.executable, "-c", base + script], check=True, capture_output=True, text=True)
    assert out.stdout == "[]\n"
    assert (PROVIDER.api, PROVIDER.rank) == (1, 50)
