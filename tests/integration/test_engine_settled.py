"""Sandboxes that were set up before they were asked for: nothing in them differs from those that were not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from monocore_core.config.values import Backends, Settings
from monocore_core.engine import Engine, new_key
from monocore_core.errors import NothingFits
from monocore_core.interfaces.vmm import Settled
from monocore_core.model.events import Event, Warned
from monocore_core.model.guest import TmpfsMount
from monocore_core.model.sandbox import MIB, CommandRequest, SandboxRequest
from monocore_core.sandbox import Sandbox
from monocore_core.testing.filespec import file
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Everything of a sandbox that is told from inside, but for what no two have in common.
LOOK = """
for each in /etc/host* /etc/resolv.conf /etc/machine-id /tmp /run /fast; do stat -c '%n %F %a %u %g %h' $each; done
head -n 20 /etc/hostname /etc/hosts /etc/resolv.conf
cat /proc/mounts | sed 's/,size=[^ ,]*//g'
ls -la / /etc /run /tmp /dev | sed -E 's/[A-Z][a-z]{2} +[0-9]+ +[0-9:]+//; s/^total .*//; s/ [0-9]+ (.* proc)$/ \\1/'
ip -o addr; ip route; ip -6 route; ip -o link | sed 's/qlen.*//'
cat /proc/sys/net/ipv4/ip_forward; cat /proc/1/comm; hostname; id; pwd; env; umask; ulimit -a
ls /proc/self/fd; cat /proc/self/status | grep -E 'Cap|Sig|NoNewPrivs|Seccomp|Groups|Umask'
cat /proc/self/cgroup /proc/self/oom_score_adj; nproc; grep MemTotal /proc/meminfo
touch /written && echo written; wc -c < /etc/machine-id
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With files of its own where a sandbox has others, of modes that nobody could read."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    own = (
        file(
            "etc/resolv.conf",
            b"nameserver 203.0.113.9\n# and more than a sandbox has\n" * 9,
            mode=0o600,
            uid=1000,
        ),
        file("etc/hosts", b"203.0.113.9 image\n", mode=0o600, uid=1000),
        file("etc/machine-id", b"0123456789abcdef0123456789abcdef\n", mode=0o444),
    )
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.push(busybox_image(extra=own), "settled/busybox")


async def told(sandbox: Sandbox) -> list[str]:
    """What is to be seen in a sandbox, with its addresses, its name and its key by other words."""
    process = await sandbox.exec(CommandRequest(args=("sh", "-c", LOOK)))
    chunks: list[bytes] = []
    while chunk := await process.stdout.read(65536):
        chunks.append(chunk)
    await process.wait()
    text = b"".join(chunks).decode().replace(sandbox.id[:12], "NAME")
    guest = sandbox.connection.guest
    if guest is not None:
        text = text.replace(guest.mac, "MAC")
        for number, address in enumerate(guest.addresses):
            text = text.replace(str(address.ip), f"ADDRESS{number}")
        mac = bytes.fromhex(guest.mac.replace(":", ""))
        local = IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])
        text = text.replace(str(local), "LOCAL").replace(" tentative ", " ")
    return re.sub(r"[ \t]+", " ", text).splitlines()


@pytest.mark.parametrize(("network", "readonly"), [("none", False), ("none", True), ("net_tap", False)])
async def test_nothing_differs(image: str, tmp_path: Path, network: str, *, readonly: bool) -> None:
    events: list[Event] = []
    request = SandboxRequest(image, memory=192 * MIB, readonly=readonly, tmpfs=(TmpfsMount("/fast", MIB),))
    seen: list[list[str]] = []
    how: list[bool] = []
    settings = Settings(
        tmp_path / "home",
        Backends(vmm="vmm_qemu", network=network),
        plugins={"net_tap": {"linger": 0.2}},
    )
    async with Engine.open(settings, listener=events.append) as engine:
        for _ in range(4):
            key = new_key()
            try:
                sandbox = await engine.launch(key, request)
            except NothingFits as error:
                pytest.skip(error.brief)
            try:
                assert isinstance(sandbox.machine, Settled)
                how.append(sandbox.machine.settled)
                seen.append(await told(sandbox))
                await engine.preparer.settled()
                await sandbox.guest.aclose()
            finally:
                await engine.discard(key)
    assert how == [False, False, True, True]
    assert len(seen[0]) > 60
    for number, other in enumerate(seen[1:], start=1):
        differences = "\n".join(difflib.unified_diff(seen[0], other, n=0))
        assert not differences, f"number {number} differs:\n{differences}"
    assert not [event for event in events if isinstance(event, Warned)]


async def test_those_of_a_library_begin_so_as_well(image: str, tmp_path: Path) -> None:
    how: list[bool] = []
    async with Engine.open(Settings(tmp_path / "home", Backends(vmm="vmm_qemu"))) as engine:
        for number in range(4):
            request = SandboxRequest(image, memory=192 * MIB, hostname=f"number{number}")
            async with engine.sandbox(request) as sandbox:
                assert isinstance(sandbox.machine, Settled)
                how.append(sandbox.machine.settled)
                process = await sandbox.exec(CommandRequest(args=("hostname",)))
                assert await process.stdout.read(64) == b"number%d\n" % number
                assert (await process.wait()).code == 0
                await engine.preparer.settled()
    assert how == [False, False, True, True]


#: How many names its kernel knows, and how many programs there are.
_NAMES = "known=$(cut -f1 /proc/sys/fs/dentry-state); set -- /bin/*; echo $known $#"


async def test_what_a_program_is_called_was_looked_for_before(image: str, tmp_path: Path) -> None:
    """So that one which is started for the first time is found as fast as the one that was started last."""
    known: list[int] = []
    how: list[bool] = []
    programs = 0
    async with Engine.open(Settings(tmp_path / "home", Backends(vmm="vmm_qemu"))) as engine:
        for _ in range(3):
            request = SandboxRequest(image, memory=192 * MIB)
            async with engine.sandbox(request, command=CommandRequest(args=("sh", "-c", _NAMES))) as sandbox:
                assert sandbox.first is not None
                assert isinstance(sandbox.machine, Settled)
                how.append(sandbox.machine.settled)
                count, programs = map(int, (await sandbox.first.stdout.read(64)).split())
                known.append(count)
                await engine.preparer.settled()
    assert how == [False, False, True]
    assert programs > 50
    assert known[1] < known[0] + programs / 2 < known[2], "its names are not known"
