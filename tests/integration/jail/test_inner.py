"""Code in the place of a VMM that is a library, whose process has confined itself: what it could still do for a guest that took it over."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_libkrun.confine import confinement_of, told
from monocore_vmm_libkrun.library import Libraries
from monocore_vmm_libkrun.messages import Message
from monocore_vmm_libkrun.options import KrunOptions

from monocore_core.model.machine import Disk, MachineSpec
from monocore_core.model.security import Layer
from tests.integration.jail.world import World

pytestmark = [pytest.mark.integration, pytest.mark.needs("gcc", "gcc")]
#: What the fork server's child does before libkrun's first call; what takes its place then is the probe. One after the other, each in a child.
ENTER = """
import ctypes, json, os, struct, sys
from monocore_core.jail import confine
from monocore_vmm_libkrun.confine import understood
said, who, probe, attempts = json.load(sys.stdin)
if who != "root":
    os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as any process of theirs has it: /proc/self is their own
if who == "user without mounts":
    # a filter by which mount(2) is not permitted, and everything else is
    number = {"x86_64": 165, "aarch64": 40}[os.uname().machine]
    steps = b"".join(struct.pack("=HBBI", *step) for step in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000),
    ))
    kept = ctypes.create_string_buffer(steps, len(steps))
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)
    assert libc.prctl(22, 2, struct.pack("@HP", len(steps) // 8, ctypes.addressof(kept)), 0, 0) == 0
found = {}
for what, words in attempts.items():
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(tell, 2)
        os.write(2, " ".join(sorted(confine(understood(said)))).encode() + b": ")
        os.environ.clear()
        os.execv(probe, [probe, *words])
    os.close(tell)
    ended = b""
    while piece := os.read(told, 4096):
        ended += piece
    os.close(told)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found[what] = ended.decode() + ("" if status == 0 else "killed" if status == -31 else f"status {status}")
print(json.dumps(found))
"""
#: It has the host's process namespace, for which Landlock's rules about signals and tracing stand in, and root's id as root.
LEFT = {
    "KVM",
    "a stray descriptor",  # the fork server closes them: its own test shows that
    "dump core",
}
ROOT = {"become root", "become root's group"}


def attempted(world: World, said: Message, who: str) -> dict[str, str]:
    """How they end, after the layers were told."""
    given = json.dumps((said, who, str(world.probe), dict(world.attempts)))
    done = subprocess.run(
        [sys.executable, "-c", ENTER],
        input=given.encode(),
        capture_output=True,
        timeout=100,
        check=False,
        cwd=world.folder / "stage",
    )
    assert done.returncode == 0, done.stderr.decode()
    return {str(what): str(end) for what, end in json.loads(done.stdout).items()}


def told_of(world: World, *, rooted: bool) -> Message:
    """What a machine with one disk of its own keeps, and that it may become the probe."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if tuple(map(int, platform.release().split(".")[:2])) < (6, 12):
        pytest.skip("needs Linux 6.12, whose Landlock keeps from signalling others")
    folder = world.folder / "stage"
    disk = folder / "disk"
    disk.write_text("mine")
    disk.chmod(0o666)
    own = Disk("own", disk, readonly=False)
    spec = MachineSpec("probe", "amd64", 1, 1 << 27, world.probe, folder, Path(), disks=(own,))
    kept = confinement_of(spec, KrunOptions(), Libraries(world.probe, None), (), rooted=rooted)
    assert kept.calls is not None
    return told(evolve(kept, calls=kept.calls.and_also({"execve"})))


@pytest.mark.parametrize("who", ["user", "user without mounts"])
def test_where_namespaces_are_not_to_be_had(world: World, who: str) -> None:
    """As a user who may have none, or may do nothing in one: files are hidden all the same."""
    tried = {what: world.attempts[what] for what in ("read another's disk", "mount", "a server on loopback")}
    # what root asks for is without a user namespace, which is refused to others
    said = told_of(world, rooted=who == "user")
    ends = attempted(evolve(world, attempts=tried), said, who)
    layers = " ".join(sorted({Layer.CAPABILITIES, Layer.LIMITS, Layer.LANDLOCK, Layer.SECCOMP}))
    assert {end.partition(": ")[0] for end in ends.values()} == {layers}
    assert all(end.partition(": ")[2].startswith(("denied", "killed")) for end in ends.values())


@pytest.mark.parametrize("who", ["root", "user"])
def test_in_the_place_of_libkrun(world: World, who: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = told_of(world, rooted=who == "root")
    told_and_ended = {what: end.partition(": ") for what, end in attempted(world, said, who).items()}
    table = {what: end for what, (_, _, end) in told_and_ended.items()}
    with capsys.disabled():
        rows = [(f"attempt in libkrun's place, as {who}", "confined"), *table.items()]
        sys.stdout.write("\n" + "\n".join(f"{what:44} {end}" for what, end in rows) + "\n")
    layers = set(Layer) - {Layer.PROCESSES} - ({Layer.USER} if who == "root" else set())
    assert {told for told, _, _ in told_and_ended.values()} == {" ".join(sorted(layers))}
    left = LEFT | ROOT if who == "root" else LEFT
    assert {what for what, end in table.items() if not end.startswith(("denied", "killed"))} <= left
