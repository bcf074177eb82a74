"""Code in the place of QEMU, or of a program that serves it, in its jail, finds nothing and reaches nobody.

Each attempt is a process of its own in a jail as QEMU's is, once with every layer, and once without the list of system calls, so that the layers
behind it are seen to hold by themselves. Those that can be tried without harm also run without a jail, where they have to succeed: an attempt that
fails everywhere would show nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve, field, frozen
from monocore_vmm_qemu.confine import jail_of
from monocore_vmm_qemu.confine_shares import jail_of_shares

from monocore_core.jail import Identity, Jail, allocate, launcher, release, start
from monocore_core.model.machine import MachineSpec, Share
from monocore_core.model.security import Layer
from monocore_core.vmmkit.process import spawn

pytestmark = [pytest.mark.integration, pytest.mark.needs("gcc", "gcc")]
#: What nothing but the list of system calls stands against: it harms nobody outside by itself.
ONLY_SECCOMP = {
    "start a process",
    "new namespaces",
    "io_uring",
    "keys of the kernel",
    "vsock",
    "userfaultfd",
    "count events",
}
_IPC_CREAT, _IPC_RMID = 0o1000, 0


@frozen
class World:
    """What is there to be found.

    Attributes:
        folder: that anybody may enter, so that only the jail is in the way.
        probe: the program.
        attempts: what it does and to what, by a person's words.
        harmless: those that run without a jail, too.
        stray: a descriptor that was left inheritable.
        shared: a folder that is served to the guest.
    """

    folder: Path
    probe: Path
    attempts: Mapping[str, tuple[str, str]]
    harmless: frozenset[str]
    stray: int
    shared: Path
    launcher: Path = field(default=Path())


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mc-jail-", dir="/tmp")))
        folder.chmod(0o755)
        stage = folder / "stage"
        stage.mkdir()
        stage.chmod(0o777)
        secret, program = folder / "secret", folder / "probe"
        secret.write_text("another sandbox's disk")
        secret.chmod(0o666)
        source = Path(__file__).with_name("probe.c")
        subprocess.run(["gcc", "-static", "-O1", "-o", str(program), str(source)], check=True)
        built = launcher(folder)
        victim = subprocess.Popen(["sleep", "600"])
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        stray = os.open(secret, os.O_RDONLY)
        stack.callback(os.close, stray)
        attempts, harmless = _attempts(folder, secret, victim.pid, stray, stack)
        shared = folder / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        (shared / "file").touch()
        yield World(folder, program, attempts, harmless, stray, shared, built)


def _attempts(
    folder: Path, secret: Path, victim: int, stray: int, stack: ExitStack
) -> tuple[Mapping[str, tuple[str, str]], frozenset[str]]:
    named, abstract, tcp = (socket.socket(kind) for kind in (socket.AF_UNIX, socket.AF_UNIX, socket.AF_INET))
    for one in (named, abstract, tcp):
        stack.enter_context(one)
    named.bind(str(folder / "monocore.sock"))
    (folder / "monocore.sock").chmod(0o666)
    name = f"monocore-probe-{os.getpid()}"
    abstract.bind(f"\0{name}")
    tcp.bind(("127.0.0.1", 0))
    for one in (named, abstract, tcp):
        one.listen(16)
    buffer = ctypes.create_string_buffer(b"secret")
    stack.callback(lambda: ctypes.memset(buffer, 0, 1))
    key = os.getpid()
    libc = ctypes.CDLL(None)
    segment = libc.shmget(key, 4096, _IPC_CREAT | 0o666)
    assert segment >= 0
    stack.callback(libc.shmctl, segment, _IPC_RMID, None)
    harmless = {
        "read another's disk": ("read_file", str(secret)),
        "write another's disk": ("write_file", str(secret)),
        "read /etc/passwd": ("read_file", "/etc/passwd"),
        "list the host's processes": ("read_file", f"/proc/{victim}/cmdline"),
        "list /sys": ("list_folder", "/sys"),
        "signal a process": ("signal_process", str(victim)),
        "a descriptor of a process": ("pidfd_process", str(victim)),
        "the daemon's socket": ("connect_unix", str(folder / "monocore.sock")),
        "an abstract socket": ("connect_unix", f"@{name}"),
        "a server on loopback": ("connect_tcp", f"127.0.0.1:{tcp.getsockname()[1]}"),
        "memory of System V": ("foreign_memory", str(key)),
        "the host's name": ("host_name", socket.gethostname()),
        "a stray descriptor": ("stray_descriptor", str(stray)),
        "the environment": ("environment", ""),
        "gain privileges": ("new_privileges", ""),
        "start a process": ("start_process", ""),
    }
    rest = {
        "trace a process": ("trace_process", str(victim)),
        "read a process's memory": ("read_memory", f"{os.getpid()}:{ctypes.addressof(buffer):#x}"),
        "slow a process down": ("priority_of", str(victim)),
        "environment of a process": ("read_file", f"/proc/{victim}/environ"),
        "join another's namespace": ("join_namespace", str(victim)),
        "the metadata address": ("connect_tcp", "169.254.169.254:80"),
        "a datagram": ("send_udp", ""),
        "raw packets": ("packet_socket", ""),
        "vsock": ("vsock_socket", ""),
        "the host's links": ("links_of_host", ""),
        "list the home folder": ("list_folder", str(Path.home())),
        "create in the root": ("create_file", "/new"),
        "create among libraries": ("create_file", "/usr/lib/x86_64-linux-gnu/libprobe.so"),
        "change what runs": ("write_file", str(folder / "probe")),
        "remove what runs": ("remove_file", str(folder / "probe")),
        "rename what runs": ("rename_file", str(folder / "probe")),
        "make what runs writable": ("change_mode", str(folder / "probe")),
        "a file by its handle": ("open_handle", ""),
        "the host's disk": ("open_device", "/dev/vda"),
        "the host's memory": ("open_device", "/dev/mem"),
        "KVM": ("open_device", "/dev/kvm"),
        "taps": ("open_device", "/dev/net/tun"),
        "make a device": ("make_device", ""),
        "sysrq": ("write_file", "/proc/sysrq-trigger"),
        "the kernel's settings": ("write_file", "/proc/sys/kernel/core_pattern"),
        "its control group": ("write_file", "/sys/fs/cgroup/cgroup.procs"),
        "its control group of v1": ("write_file", "/sys/fs/cgroup/memory/cgroup.procs"),
        "mount": ("mount_tmpfs", ""),
        "make the root writable": ("remount_root", ""),
        "unmount the root": ("unmount_root", ""),
        "change the root": ("change_root", ""),
        "new namespaces": ("new_namespace", ""),
        "become root": ("become_root", ""),
        "become root's group": ("become_group", ""),
        "set groups": ("set_groups", ""),
        "gain capabilities": ("gain_capabilities", ""),
        "the bounding set": ("bounding_set", ""),
        "execute a shell": ("execute_shell", "/bin/sh"),
        "the kernel's log": ("kernel_log", ""),
        "load a program": ("load_program", ""),
        "count events": ("count_events", ""),
        "io_uring": ("use_ring", ""),
        "userfaultfd": ("fault_memory", ""),
        "keys of the kernel": ("use_keys", ""),
        "load a module": ("load_module", ""),
        "set the clock": ("set_clock", ""),
        "set the host's name": ("set_name", ""),
        "dump core": ("dump_core", ""),
        "raise a limit": ("raise_limit", ""),
        "lock memory": ("lock_memory", ""),
        "be spared when memory runs out": ("spare_oom", ""),
    }
    return {**harmless, **rest}, frozenset(harmless)


@contextlib.asynccontextmanager
async def _ended(words: tuple[int, int]) -> AsyncGenerator[int]:
    try:
        yield words[1]
    finally:
        for end in words:
            os.close(end)


async def attempt(
    world: World, what: str, jail: Jail | None, identity: Identity | None, prefix: tuple[str, ...]
) -> str:
    """How an attempt ends."""
    argv = [str(world.probe), *world.attempts[what]]
    words = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    async with _ended(words) as stderr:
        if jail is None:
            child = spawn(argv, stderr=stderr, inherit=(world.stray,), tied=False)
        else:
            made = evolve(jail, identity=identity)
            jailed = await start(
                world.launcher, made, argv, stderr=stderr, inherit=(), tied=False, prefix=prefix
            )
            assert Layer.FILES in jailed.layers
            child = jailed.process
        async with asyncio.timeout(30):
            await child.wait()
        if child.status is not None and child.status < 0:
            return f"killed: {signal.Signals(-child.status).name}"
        assert child.status == 0, f"{what}: status {child.status}"
        return os.read(words[0], 4096).decode().strip()


def _jail_of_virtiofsd(world: World, *, rooted: bool) -> Jail:
    shares = (
        Share("data", world.shared, readonly=False),
        Share("fixed", world.shared, readonly=True),
    )
    return jail_of_shares(shares, world.probe, world.folder / "stage", rooted=rooted)


def _jail(world: World, identity: Identity | None) -> Jail:
    spec = MachineSpec("probe", "amd64", 1, 1 << 27, Path(), world.folder / "stage", Path())
    return jail_of(spec, world.probe, world.probe, identity, kvm=False)


def _becoming(who: str) -> tuple[str, ...]:
    """What makes the launcher's user of ours."""
    rooted = os.geteuid() == 0
    if who == "root" and not rooted:
        pytest.skip("needs root")
    if who == "root" or not rooted:
        return ()
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    return (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--")


#: What who serves folders can before it has begun: it acts for every user of the guest, and changes its root to the folders. An ordinary user's
#: is root in its own namespace alone, and is only told that groups were set.
SERVING = {"become root", "become root's group", "set groups", "change the root", "the bounding set"}


@pytest.mark.parametrize("who", ["root", "user"])
async def test_in_the_place_of_who_serves_folders(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = _becoming(who)
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
async def test_an_escaped_guest_gets_nowhere(
    world: World, who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = _becoming(who)
    identity = allocate(world.folder / "uids") if who == "root" else None
    os.set_inheritable(world.stray, True)  # noqa: FBT003 - the mistake that is to do no harm
    try:
        jail = _jail(world, identity)
        bare = evolve(jail, calls=None)
        table = {
            what: (
                await attempt(world, what, jail, identity, prefix),
                await attempt(world, what, bare, identity, prefix),
            )
            for what in world.attempts
        }
    finally:
        release(identity)
    with capsys.disabled():
        rows = [(f"attempt, as {who}", ("in the jail", "without seccomp")), *table.items()]
        text = "\n".join(f"{what:34} {whole:44} {part}" for what, (whole, part) in rows)
        sys.stdout.write(f"\n{text}\n")
    assert [what for what, (whole, _) in table.items() if "SUCCEEDED" in whole] == []
    through = {what for what, (_, part) in table.items() if "SUCCEEDED" in part}
    assert through - ONLY_SECCOMP == set()


async def test_the_attempts_succeed_without_a_jail(world: World) -> None:
    os.set_inheritable(world.stray, True)  # noqa: FBT003
    ends = {what: await attempt(world, what, None, None, ()) for what in sorted(world.harmless)}
    assert {what for what, end in ends.items() if end != "SUCCEEDED"} == set()


async def test_an_allowed_call_is_missed_when_it_is_taken_away(world: World) -> None:
    """The list is needed: a program without a call of it dies, and its end says why."""
    identity = allocate(world.folder / "uids") if os.geteuid() == 0 else None
    try:
        jail = _jail(world, identity)
        assert jail.calls is not None
        less = evolve(jail, calls=evolve(jail.calls, allowed=jail.calls.allowed - {"write"}))
        assert await attempt(world, "the environment", less, identity, ()) == "killed: SIGSYS"
    finally:
        release(identity)
