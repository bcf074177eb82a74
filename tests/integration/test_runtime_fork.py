"""Copies of a sandbox that runs, for real: each goes on by itself, and no two have an identity, or what comes of randomness, in common."""

import asyncio
import time
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.config.values import Settings
from monocore_core.errors import Conflict, LimitExceeded, Unsupported
from monocore_core.interfaces.vmm import PausableMachine, Settled
from monocore_core.model.guest import GuestRenewal
from monocore_core.model.record import SandboxOrder, SandboxRecord, SandboxState
from monocore_core.model.sandbox import MIB, CommandRequest, PullPolicy, SandboxRequest
from monocore_core.model.volume import VolumeMount
from monocore_core.runtime.forking import fork
from monocore_core.runtime.life import Life
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.testing.processes import ended
from tests.integration.test_runtime import home, image, logged, order, sandboxes

__all__ = ["home", "image", "sandboxes"]
pytestmark = pytest.mark.integration
#: Loads something that no two would have by themselves, and tells at each go on what it knows and draws.
PROGRAM = """
data=$(head -c 300000 /dev/urandom | md5sum | cut -c1-32)
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
echo kept > /file
echo loaded $data
while read word; do
    echo $word > /file
    echo $data $(hostname) $(cat /etc/hostname) $(cat /etc/machine-id) $(head -c 9 /dev/urandom | md5sum | cut -c1-32)
    sync
done
"""


async def line_of(sandboxes: Sandboxes, record: SandboxRecord, number: int) -> list[str]:
    """The words of a line of its log, once it is there."""
    async with asyncio.timeout(60):
        while len(lines := logged(sandboxes, record).decode().split("\n")) <= number + 1:  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.02)
    return lines[number].split()


async def told(sandboxes: Sandboxes, life: Life, word: str) -> list[str]:
    before = logged(sandboxes, life.record).count(b"\n")
    assert life.process is not None
    await life.process.write_stdin(f"{word}\n".encode())
    return await line_of(sandboxes, life.record, before)


async def content(sandboxes: Sandboxes, record: SandboxRecord, *command: str) -> bytes:
    process = await sandboxes.exec(record.id, CommandRequest(args=command))
    found = b""
    while data := await process.stdout.read():
        found += data
    return found


async def test_copies_go_on_by_themselves(sandboxes: Sandboxes, image: str) -> None:
    request = SandboxRequest(image, name="first", memory=128 * MIB, pull=PullPolicy.NEVER, disk=32 * MIB)
    command = CommandRequest(args=("sh", "-c", PROGRAM), stdin=True)
    original = sandboxes.create(SandboxOrder(request, command))
    first = await sandboxes.start(original.id)
    data = (await line_of(sandboxes, original, 0))[1]
    made = await fork(sandboxes, "first", 2, "copy", sandboxes.create)
    assert [record.name for record in made] == ["copy-1", "copy-2"]
    lives = [first, *(sandboxes.life(record.id) for record in made)]
    heard = [await told(sandboxes, life, life.record.name) for life in lives]
    assert [words[0] for words in heard] == [data] * 3
    assert [words[1] for words in heard] == [life.record.id for life in lives]
    assert [words[2] for words in heard] == [life.record.id for life in lives]
    assert heard[0][3] == "0123456789abcdef" * 2
    assert len({words[3] for words in heard}) == 3
    assert len({words[4] for words in heard}) == 3
    contents = [await content(sandboxes, life.record, "cat", "/file", "/proc/self/cgroup") for life in lives]
    assert contents == [f"{life.record.name}\n0::/\n".encode() for life in lives]

    again = (await fork(sandboxes, "copy-2", 1, "", sandboxes.create))[0]
    await sandboxes.remove("first", force=True)
    await sandboxes.remove("copy-2", force=True)
    assert (await told(sandboxes, sandboxes.life(again.id), "again"))[:2] == [data, again.id]
    assert (await told(sandboxes, lives[1], "still"))[0] == data
    await refused(sandboxes, lives[1])
    engine = await sandboxes.engines.base()
    assert list(engine.store.layout.temporaries.iterdir()) == []


async def test_what_it_made_of_the_files_that_name_it_is_not_written_to(
    sandboxes: Sandboxes, image: str
) -> None:
    script = "ln /etc/hostname /mine; ln -sf /other /etc/hosts; echo done; exec sleep 1000"
    original = sandboxes.create(order(image, "sh", "-c", script, name="first"))
    await sandboxes.start(original.id)
    await line_of(sandboxes, original, 0)
    copy = (await fork(sandboxes, "first", 1, "", sandboxes.create))[0]
    words = "cat /mine /etc/hostname; ls /other; ls -l /etc/hosts; cat /etc/hosts"
    lines = (await content(sandboxes, copy, "sh", "-c", words)).decode().splitlines()
    assert lines[:2] == [original.id, copy.id]
    assert lines[2].startswith("-rw-r--r--")
    assert lines[-1] == f"127.0.1.1\t{copy.id}"


async def test_it_can_be_another_and_still_stand_still(sandboxes: Sandboxes, image: str) -> None:
    sandboxes.create(order(image, "sh", "-c", "while :; do hostname; sleep 0.05; done", name="held"))
    life = await sandboxes.start("held")
    guest = life.sandbox.guest
    await line_of(sandboxes, life.record, 2)
    await guest.hold()
    await asyncio.sleep(0.2)
    before = logged(sandboxes, life.record)
    renewal = GuestRenewal(time.time_ns(), bytes(32), "another", other=True, held=True)
    await guest.release(renewal)
    await asyncio.sleep(0.5)
    assert logged(sandboxes, life.record) == before
    await guest.release(GuestRenewal(time.time_ns()))
    said = await line_of(sandboxes, life.record, before.count(b"\n") + 3)
    assert said == ["another"]


async def refused(sandboxes: Sandboxes, life: Life) -> None:
    """What cannot be copied is said, and leaves nothing."""
    known, was = sandboxes.all(), life.record.order
    volumes = (VolumeMount("/data", "data"),)
    life.record = evolve(life.record, order=evolve(was, sandbox=evolve(was.sandbox, volumes=volumes)))
    with pytest.raises(Unsupported, match="it has volumes"):
        await fork(sandboxes, life.record.id, 2, "", sandboxes.create)
    life.record = evolve(life.record, order=was)

    def one_only(asked: SandboxOrder) -> SandboxRecord:
        if len(sandboxes.all()) > len(known):
            raise LimitExceeded("that is too many")
        return sandboxes.create(asked)

    with pytest.raises(LimitExceeded, match="too many"):
        await fork(sandboxes, life.record.id, 2, "", one_only)
    await life.pause()
    with pytest.raises(Conflict, match="is paused"):
        await fork(sandboxes, life.record.id, 2, "", sandboxes.create)
    await life.resume()
    assert [one.id for one in sandboxes.all()] == [one.id for one in known]


async def test_a_daemon_that_dies_meanwhile_leaves_it_to_the_next_one(home: Path, image: str) -> None:
    async with Sandboxes.open(Settings(home)) as before:
        before.create(order(image, "sh", "-c", "while :; do echo on; sleep 0.1; done", name="held"))
        life = await before.start("held")
        machine = life.sandbox.machine
        assert isinstance(machine, PausableMachine)
        await life.sandbox.guest.hold()
        await machine.pause()  # as a fork leaves it whose process is killed
    async with Sandboxes.open(Settings(home)) as later:
        found = later.get("held")
        assert found.state is SandboxState.RUNNING
        await line_of(later, found, logged(later, found).count(b"\n") + 3)
        await later.remove("held", force=True)


@pytest.mark.parametrize("disk", [None, 32 * MIB])
async def test_one_that_an_earlier_daemon_started(home: Path, image: str, disk: int | None) -> None:
    request = SandboxRequest(image, name="old", memory=128 * MIB, pull=PullPolicy.NEVER, disk=disk)
    async with Sandboxes.open(Settings(home)) as before:
        before.create(SandboxOrder(request))
        await before.start("old")
    async with Sandboxes.open(Settings(home)) as later:
        (copy,) = await fork(later, "old", 1, "", later.create)
        assert await content(later, copy, "hostname") == f"{copy.id}\n".encode()
        for name in ("old", copy.id):
            await later.remove(name, force=True)


async def test_a_daemon_that_dies_before_all_copies_are_there_leaves_none(home: Path, image: str) -> None:
    async with Sandboxes.open(Settings(home)) as before:
        before.create(order(image, "sleep", "1000", name="whole"))
        await before.start("whole")
        copies = await fork(before, "whole", 2, "part", before.create)
        assert not any(record.partial for record in before.all())
        pids = [before.get(record.id).pid for record in copies]
        waiting = before.create(order(image, "sleep", "1000", name="part-3"))
        for record in (*copies, waiting):  # as they are written down until all are there
            life = before.lives.of(record)
            if life is not None:
                life.record = evolve(life.record, partial=True)
            before.book.save(evolve(before.get(record.id), partial=True))
    async with Sandboxes.open(Settings(home)) as later:
        assert [record.name for record in later.all()] == ["whole"]
        assert later.get("whole").state is SandboxState.RUNNING
        assert all([await ended(pid, 10) for pid in pids])
        engine = await later.engines.base()
        folders = {path.name for path in engine.store.layout.sandboxes.iterdir()}
        assert folders == {later.get("whole").id}
        await later.remove("whole", force=True)


async def test_one_that_was_set_up_before_and_has_run_nothing_yet(sandboxes: Sandboxes, image: str) -> None:
    engine = await sandboxes.engines.base()
    request = SandboxRequest(image, memory=128 * MIB, pull=PullPolicy.NEVER)
    for name in ("plain", "second"):
        await sandboxes.start(sandboxes.create(SandboxOrder(evolve(request, name=name))).id)
        await engine.preparer.settled()
    life = await sandboxes.start(sandboxes.create(SandboxOrder(evolve(request, name="settled"))).id)
    machine = life.sandbox.machine
    assert isinstance(machine, Settled)
    assert machine.settled  # a process waits in it for its first command
    copies = await fork(sandboxes, "settled", 2, "copy", sandboxes.create)
    again = (await fork(sandboxes, "copy-1", 1, "", sandboxes.create))[0]
    for record in (life.record, *copies, again):
        for _ in range(2):  # the first is what has waited, the other is forked
            assert await content(sandboxes, record, "hostname") == f"{record.id}\n".encode()
    drawn = {await content(sandboxes, each, "sh", "-c", "head -c 9 /dev/urandom | md5sum") for each in copies}
    assert len(drawn) == 2
