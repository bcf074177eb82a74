"""The agent as PID 1 of real virtual machines."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import AccelChoice, QemuOptions

from monocore_core.erofs import directory, regular, self_contained, symlink
from monocore_core.errors import CommandNotExecutable, CommandNotFound, GuestError, Unreachable
from monocore_core.guest.bootdisk import boot_disk
from monocore_core.guest.client import Guest
from monocore_core.guest.connections import GuestStream
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.interfaces.provider import Host
from monocore_core.interfaces.vmm import Machine
from monocore_core.model.guest import (
    GuestSetup,
    ProcessExit,
    ProcessSpec,
    RootDisk,
    TerminalSize,
    TmpfsMount,
)
from monocore_core.model.guestfile import ChangeKind, FileOwner
from monocore_core.model.machine import Disk, MachineEnd, MachineSpec

pytestmark = [pytest.mark.integration]
PATH = ("PATH=/bin",)
MIB = 1024 * 1024
#: Through a machine, both ways; the full 1 GiB is asked for by the environment, before it is tidied for the tests.
STREAM_BYTES = int(os.environ.get("MONOCORE_TEST_STREAM_BYTES", "1073741824"))


@frozen
class Box:
    machine: Machine
    guest: Guest


def make_image(path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox (apt-get install busybox-static)")
    listing = subprocess.run([busybox, "--list"], capture_output=True, check=True).stdout.split()
    programs = {name: symlink(b"busybox") for name in listing}
    programs[b"busybox"] = regular(Path(busybox).read_bytes(), mode=0o755)
    etc = {
        b"passwd": regular(b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"),
        b"group": regular(b"root:x:0:\nbob:x:1000:\nextra:x:2000:alice,bob\n"),
        b"hosts": symlink(b"../../../run/elsewhere"),
    }
    root = directory(
        {
            b"bin": directory(programs),
            b"tmp": directory(),
            b"etc": directory(etc),
            b"text": regular(b"hi", mode=0o644),
            b"script": regular(b"#!/no/such\n", mode=0o755),
        }
    )
    path.write_bytes(self_contained(root))


@asynccontextmanager
async def booted(folder: Path, memory: int = 192 * MIB, *, tied: bool = False) -> AsyncGenerator[Box]:
    image, state, cache = folder / "root.erofs", folder / "state", folder / "cache"
    for made in (state, cache, folder / "vm"):
        made.mkdir(mode=0o700)
    problem = PROVIDER.probe(Host(state, cache), QemuOptions())
    if problem is not None:
        pytest.skip(f"vmm_qemu: {problem.reason}")
    make_image(image)
    spec = MachineSpec(
        key="guest-test",
        architecture="amd64",
        vcpus=1,
        memory=memory,
        boot=boot_disk("amd64", cache / "boot"),
        directory=folder / "vm",
        console=folder / "console",
        disks=(Disk("root", image),),
    )
    async with PROVIDER.create(Host(state, cache), QemuOptions(accel=AccelChoice.TCG)) as vmm:
        machine = await vmm.start(spec)
        try:
            guest = await Guest.open(await machine.connect(), timeout=60)
            setup = GuestSetup(
                root=RootDisk("root", "erofs"),
                hostname="box",
                entropy=os.urandom(64),
                time_ns=time.time_ns(),
                mounts=(TmpfsMount("/scratch", 8 * MIB), TmpfsMount("/room", 64 * MIB)),
                tied=tied,
            )
            await guest.setup(setup)
            yield Box(machine, guest)
            await guest.aclose()
        finally:
            await machine.kill()
            await vmm.remove(spec.key)


async def everything(stream: ByteStream | GuestStream) -> bytes:
    parts: list[bytes] = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def run(guest: Guest, *argv: str, user: str = "", cwd: str = "/") -> tuple[bytes, ProcessExit]:
    process = await guest.spawn(ProcessSpec(argv=argv, env=PATH, user=user, cwd=cwd))
    out, _ = await asyncio.gather(everything(process.stdout), everything(process.stderr))
    return out, await process.wait()


async def shell(guest: Guest, script: str, user: str = "", cwd: str = "/") -> str:
    return (await run(guest, "sh", "-c", script, user=user, cwd=cwd))[0].decode()


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 100_000):
        yield data[at : at + 100_000]


async def test_one_machine_does_it_all(tmp_path: Path) -> None:
    async with booted(tmp_path) as box:
        guest = box.guest
        await _the_place(guest)
        await _the_user(guest)
        await _the_command(guest)
        await _the_terminal(guest)
        await _the_archive(guest)
        await _the_connection(guest)
        await _the_files(guest)
        again = await _the_kept(box)
        await _the_reconnection(Box(box.machine, again))
        await again.aclose()


async def _the_place(guest: Guest) -> None:
    assert await shell(guest, "hostname; cat /etc/hostname") == "box\nbox\n"
    assert "localhost" in await shell(guest, "cat /etc/hosts; readlink /etc/hosts")
    assert abs(int(await shell(guest, "date +%s")) - time.time()) < 20
    mounts = await shell(guest, "cat /proc/mounts")
    for target in ("/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/scratch"):
        assert f" {target} " in mounts
    assert "erofs" not in mounts
    assert await shell(guest, "echo x > /new && cat /new; ls -l /dev/fd/ > /dev/null && echo fd") == "x\nfd\n"
    assert "UP" in await shell(guest, "ifconfig lo")
    before = await guest.stats()
    assert before.disk_read_bytes > 50_000  # busybox at least came from there
    assert before.disk_written_bytes == 0
    assert (before.network_received_bytes, before.network_sent_packets) == (0, 0)
    await shell(guest, "head -c 2000000 /dev/zero > /filler")
    after = await guest.stats()
    assert after.memory_shared - before.memory_shared > 1_500_000  # the kernel counts in portions
    await shell(guest, "rm /filler")


async def _the_user(guest: Guest) -> None:
    script = "id -u; id -g; id -G; echo $HOME; pwd"
    assert await shell(guest, script, "bob", "/made/here") == "1000\n1000\n1000 2000\n/home/bob\n/made/here\n"
    assert await shell(guest, script, "1000") == "1000\n1000\n1000 2000\n/home/bob\n/\n"
    assert await shell(guest, script, "77:extra") == "77\n2000\n2000\n/\n/\n"
    assert await shell(guest, script) == "0\n0\n0\n/root\n/\n"
    with pytest.raises(GuestError, match="carol"):
        await shell(guest, script, "carol")


async def _the_command(guest: Guest) -> None:
    assert (await run(guest, "sh", "-c", "exit 7"))[1] == ProcessExit(7)
    assert (await run(guest, "sh", "-c", "kill -TERM $$"))[1] == ProcessExit(143, 15)
    for command in ("nope", "/nope", "/script"):
        with pytest.raises(CommandNotFound, match=command):
            await run(guest, command)
    for command in ("/text", "/tmp"):
        with pytest.raises(CommandNotExecutable, match=command):
            await run(guest, command)
    assert await shell(guest, "(sleep 0.1 &) ; echo $$ > /dev/null; ps | grep -c '[Z]ombie'") == "0\n"


async def _the_terminal(guest: Guest) -> None:
    script = "tty; stty size; read x; stty size; echo got $x"
    spec = ProcessSpec(
        argv=("sh", "-c", script), env=PATH, terminal=TerminalSize(33, 77), stdin=True, user="bob"
    )
    process = await guest.spawn(spec)
    seen = b""
    while b"33 77" not in seen:
        seen += await process.stdout.read()
    await process.resize(TerminalSize(40, 100))
    await process.write_stdin(b"word\n")
    rest = await everything(process.stdout)
    assert b"40 100" in rest
    assert b"got word" in rest
    assert (await process.wait()).code == 0


async def _the_archive(guest: Guest) -> None:
    buffer = io.BytesIO()
    data = os.urandom(1_500_000)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("deep/" * 30 + "file")
        member.size, member.uid, member.mode = len(data), 1000, 0o640
        archive.addfile(member, io.BytesIO(data))
    await guest.write_archive("/in/here", chunks(buffer.getvalue()))
    packed = b"".join([part async for part in guest.read_archive("/in/here")])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        found = archive.getmember("here/" + "deep/" * 30 + "file")
        assert (found.uid, found.mode, found.size) == (1000, 0o640, len(data))
        content = archive.extractfile(found)
        assert content is not None
        assert content.read() == data


async def _the_files(guest: Guest) -> None:
    files, odd = guest.files, os.fsdecode(b"/made/\xff")
    await files.make_folder("/made", parents=True)
    async with await files.watch("/made") as watch:
        await files.write(odd, chunks(b"content"), mode=0o640, owner=FileOwner(1000, 2000))
        assert (await anext(watch)).kind is ChangeKind.CREATED
    found = (await files.list_folder("/made")).entries[-1]
    assert (found.name, found.size, found.mode, found.uid, found.gid) == (odd[6:], 7, 0o640, 1000, 2000)
    assert b"".join([part async for part in files.read(odd, offset=3)]) == b"tent"
    assert await shell(guest, "cat /made/*") == "content"
    # links are those of the sandbox, whatever they say
    await shell(guest, "ln -s /../../made /tmp/out")
    assert (await files.stat(f"/tmp/out{odd[5:]}")).size == 7
    with pytest.raises(GuestError, match="No space left on device"):
        await files.write("/scratch/full", chunks(bytes(9 * MIB)))
    with pytest.raises(GuestError, match="on another file system, or a folder of the image"):
        await files.move(odd, "/scratch/x")
    await files.move("/text", "/made/text")
    with pytest.raises(GuestError, match="another file system is mounted there"):
        await files.remove("/dev", recursive=True)
    await files.remove("/made", recursive=True)
    assert "made" not in {entry.name for entry in (await files.list_folder("/")).entries}


async def _the_connection(guest: Guest) -> None:
    with pytest.raises(Unreachable, match="refused"):
        await guest.dial(7)
    await shell(guest, "nc -l -p 7 -e cat > /dev/null 2>&1 & while ! netstat -lnt | grep -q :7; do :; done")
    data = os.urandom(500_000)
    async with await guest.dial(7) as stream:

        async def send() -> None:
            await stream.write(data)
            await stream.close_write()

        got, _ = await asyncio.gather(everything(stream), send())
    assert got == data


async def _the_kept(box: Box) -> Guest:
    """Three connections to one process: nothing is lost, nothing comes twice unsaid."""
    script = "i=0; while [ $i -lt 4000 ]; do echo line-$i; echo error-$i >&2; i=$((i+1)); done; exit 4"
    spec = ProcessSpec(argv=("sh", "-c", script), env=PATH, keep=True, label="main")
    process, guest, safe = await box.guest.spawn(spec), box.guest, bytearray()
    for limit in (10_000, 20_000):
        while process.stdout.offset < limit:
            at, part = process.stdout.offset, await process.stdout.read(3000)
            assert part.startswith(safe[at : at + len(part)])
            safe[at:] = part
            process.stdout.acknowledge(at + len(part) // 2)
        await guest.aclose()
        guest = await Guest.open(await box.machine.connect(), timeout=20)
        (process,) = (found for found in guest.adopted.values() if found.label == "main")
        assert 0 < process.stdout.offset < len(safe)
        assert process.stderr.offset == 0
    at = process.stdout.offset
    safe[at:], errors = await asyncio.gather(everything(process.stdout), everything(process.stderr))
    assert safe.decode() == "".join(f"line-{n}\n" for n in range(4000))
    assert errors.decode() == "".join(f"error-{n}\n" for n in range(4000))
    assert (await process.wait()).code == 4
    await process.release()
    return guest


async def _the_reconnection(box: Box) -> None:
    process = await box.guest.spawn(
        ProcessSpec(argv=("sh", "-c", "read x; echo got $x; exit 5"), env=PATH, stdin=True)
    )
    flood = await box.guest.spawn(ProcessSpec(argv=("yes",), env=PATH))
    assert await flood.stdout.read()
    again = await Guest.open(await box.machine.connect(), timeout=20)
    assert again.ready
    assert set(again.adopted) == {process.id, flood.id}
    mine = again.adopted[process.id]
    await mine.write_stdin(b"it\n")
    assert await everything(mine.stdout) == b"got it\n"
    assert (await mine.wait()).code == 5
    await again.adopted[flood.id].signal(9)
    assert (await again.adopted[flood.id].wait()).signal == 9
    await again.shutdown(grace=1)
    assert (await asyncio.wait_for(box.machine.wait(), 20)).end is MachineEnd.SHUTDOWN
    await again.aclose()


async def test_want_of_memory_is_told_and_survived(tmp_path: Path) -> None:
    async with booted(tmp_path, 96 * MIB) as box:
        _, end = await run(box.guest, "sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
        assert (end.signal, end.oom) == (9, True)
        assert (await box.guest.stats()).oom_kills >= 1
        assert await shell(box.guest, "echo alive") == "alive\n"
        assert (await run(box.guest, "sh", "-c", "kill -9 $$"))[1] == ProcessExit(137, 9)


#: Fills the guest but for what its programs are read from, then grows by little steps while they are read: the kernel finds a page
#: to drop each time, and may see no want of memory for minutes.
STARVE = """
left=$(awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo)
dd if=/dev/zero of=/room/fill bs=1M count=$((left - 10)) 2>/dev/null
for i in 1 2; do while :; do cat /bin/busybox; done >/dev/null & done
exec awk 'BEGIN { while (1) kept[i++] = sprintf("%1000d", i) }'
"""


async def test_a_guest_that_reads_its_programs_over_and_over_is_relieved(tmp_path: Path) -> None:
    async with booted(tmp_path, 96 * MIB) as box:
        process = await box.guest.spawn(ProcessSpec(argv=("sh", "-c", STARVE), env=PATH))
        end = await asyncio.wait_for(process.wait(), 60)
        assert (end.signal, end.oom) == (9, True), (tmp_path / "console").read_text(errors="replace")
        assert (await asyncio.wait_for(box.guest.stats(), 20)).oom_kills >= 1


async def test_a_tied_guest_ends_with_its_host(tmp_path: Path) -> None:
    async with booted(tmp_path, tied=True) as box:
        await box.guest.aclose()
        assert (await asyncio.wait_for(box.machine.wait(), 20)).end is MachineEnd.SHUTDOWN


@pytest.mark.slow
async def test_bytes_are_exact_through_a_machine(tmp_path: Path) -> None:
    size = STREAM_BYTES
    async with booted(tmp_path) as box:
        process = await box.guest.spawn(ProcessSpec(argv=("cat",), env=PATH, stdin=True))
        sent, received = await asyncio.gather(_feed(process, size), _hash(process.stdout))
        assert sent == received
        assert (await process.wait()).code == 0


async def _feed(process: GuestProcess, size: int) -> tuple[int, str]:
    digest, block = hashlib.sha256(), os.urandom(MIB)
    for at in range(0, size, MIB):
        part = block[: min(MIB, size - at)]
        digest.update(part)
        await process.write_stdin(part)
    await process.close_stdin()
    return size, digest.hexdigest()


async def _hash(stream: ByteStream) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while part := await stream.read(MIB):
        digest.update(part)
        size += len(part)
    return size, digest.hexdigest()
