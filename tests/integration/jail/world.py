"""What an attacker could find on a host, and the attempts to find it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve, field, frozen

from monocore_core.jail import Identity, Jail, launcher, start
from monocore_core.model.security import Layer
from monocore_core.vmmkit.process import spawn

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


@contextlib.contextmanager
def made() -> Generator[World]:
    """The world, for as long as it is needed."""
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


def becoming(who: str) -> tuple[str, ...]:
    """What makes the launcher's user of ours."""
    rooted = os.geteuid() == 0
    if who == "root" and not rooted:
        pytest.skip("needs root")
    if who == "root" or not rooted:
        return ()
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    return (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--")
