"""Agents that lie about what is in their sandbox: files, figures, archives, connections. Whoever asked gets a sentence, or what is left of the truth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import monocore_core.guest.session
from monocore_core.cli.unpack import Unpacking, unpack
from monocore_core.errors import (
    Corrupt,
    DeadlineExceeded,
    GuestError,
    LimitExceeded,
    MonocoreError,
    StorageError,
)
from monocore_core.guest.client import Guest
from monocore_core.metrics import History, Labelled, Sampler, Target, prometheus
from monocore_core.model.guest import ProcessSpec
from monocore_core.model.guestfile import WriteMode
from monocore_core.model.sandbox import MIB
from monocore_core.ocidoc.derive import Commit
from monocore_core.runtime.committing import commit
from monocore_core.runtime.life import Life
from monocore_core.server.processes import processes_of
from monocore_core.store import Store
from monocore_core.store.limits import Limits
from tests.integration.malicious.world import World, session

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("gcc", "gcc"),
    pytest.mark.asyncio(loop_scope="package"),
]
BROKE = "the guest agent broke the protocol"
SOON = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def attacker(opened: World) -> AsyncIterator[Life]:
    """A sandbox without a command, whose agent does what it is asked, in its own way."""
    life = await opened.begin("honest")
    yield life
    await opened.clear()


@pytest_asyncio.fixture(loop_scope="package")
async def guest(opened: World, attacker: Life) -> AsyncIterator[Guest]:
    """A session of the test's own, within bounds, which serves on afterwards."""
    async with opened.bounded(), session(attacker) as begun:
        yield begun
        process = await begun.spawn(ProcessSpec(argv=("honest",)))
        assert await process.stdout.read() == b"well\n"


async def say(guest: Guest, word: str) -> None:
    await (await guest.spawn(ProcessSpec(argv=(word,)))).wait()


# files


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/climbs", "an entry's name is none"),
        ("/dots", "an entry's name is none"),
        ("/nul", "an entry's name is none"),
        ("/unnamed", "an entry's name is none"),
        ("/digits", "an entry's name is none"),
        ("/megabyte", "a record of 1048576 bytes"),
        ("/negative", "numbers are negative"),
        ("/cut", "cut off"),
        ("/many", "longer than asked for"),
        ("/circle", "is followed by itself"),
        ("/onwards", "an entry's name is none"),
        ("/endless", "has no end"),
        ("/crumbs", "has no end"),
        ("/refused", "without a reason"),
    ],
)
async def test_lists(guest: Guest, path: str, says: str) -> None:
    async with asyncio.timeout(SOON):
        with pytest.raises(GuestError, match=says):
            await guest.files.list_folder(path, after="a", limit=10)


async def test_a_path_that_is_two(guest: Guest) -> None:
    with pytest.raises(GuestError, match="2 entries for one path"):
        await guest.files.stat("/two")


@pytest.mark.parametrize("path", ["/silent", "/done"])
async def test_a_list_that_never_comes(guest: Guest, path: str) -> None:
    """Whoever asks waits as long as they like: a file system may take its time."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await guest.files.list_folder(path)


async def test_more_of_a_file_than_was_asked_for(guest: Guest) -> None:
    got: list[bytes] = []
    with pytest.raises(GuestError, match="more of a file"):
        await collect(guest.files.read("/endless", length=5000), got)
    assert sum(map(len, got)) <= 5000


async def collect(chunks: AsyncGenerator[bytes], into: list[bytes]) -> None:
    while chunk := await anext(chunks, b""):
        into.append(chunk)


async def test_a_file_that_is_never_taken(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monocore_core.guest.session, "REPLY_TIMEOUT", 0.5)

    async def chunks(count: int) -> AsyncGenerator[bytes]:
        for _ in range(count):
            yield bytes(MIB)

    with pytest.raises(DeadlineExceeded):
        await guest.files.write("/f", chunks(0), how=WriteMode.NEW)
    with pytest.raises(
        TimeoutError
    ):  # more than there is credit for: whoever writes waits as long as they like
        async with asyncio.timeout(0.5):
            await guest.files.write("/f", chunks(1000))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/early", "before it watched"),
        ("/strange", "kind 77"),
        ("/absolute", "kind 1"),
        ("/again", "began a watch twice"),
    ],
)
async def test_watches(guest: Guest, path: str, says: str) -> None:
    async with asyncio.timeout(SOON):
        with pytest.raises(GuestError, match=says):
            async with await guest.files.watch(path) as changes:
                await anext(changes)


async def test_changes_without_end(guest: Guest) -> None:
    async with asyncio.timeout(SOON), await guest.files.watch("/storm") as changes:
        for _ in range(5000):
            await anext(changes)
        await asyncio.sleep(0.5)  # nobody takes them


async def test_processes_that_are_none(guest: Guest) -> None:
    async with asyncio.timeout(SOON):
        found = await processes_of(guest)
    assert [(one["pid"], one["command"]) for one in found] == [(1, "honest")]


# figures


@pytest.mark.parametrize("how", ["negative", "huge", "empty", "garbage", "never"])
async def test_figures(guest: Guest, attacker: Life, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monocore_core.metrics.sampler.PATIENCE", 0.3)
    await say(guest, f"stats:{how}")
    sampler = Sampler()
    sampler.add(Target("a", (attacker.record.pid,), guest.stats))
    for _ in range(3):
        sample = await sampler.now("a")
        assert sample is not None
        assert (sample.guest is None) == (how in {"garbage", "never"})
    history = sampler.history("a")
    assert isinstance(history, History)
    assert len(list(history.samples())) == 3
    history.rates()
    assert history.latest is not None
    assert b"monocore" in prometheus([Labelled("a", history.latest)])


# connections


@pytest.mark.parametrize(
    ("port", "says"), [(3, "data for no stream"), (4, "was never begun"), (5, "more than it was allowed")]
)
async def test_connections(opened: World, attacker: Life, port: int, says: str) -> None:
    async with opened.bounded(), asyncio.timeout(SOON), session(attacker) as guest:
        with pytest.raises(GuestError, match=says):
            await use(guest, port)


async def use(guest: Guest, port: int) -> None:
    stream = await guest.dial(port)
    await asyncio.sleep(0.2)  # it is nobody's turn to read
    while await stream.read():
        pass
    await guest.stats()


async def test_connections_that_are_not_made(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monocore_core.guest.session, "REPLY_TIMEOUT", 0.5)
    with pytest.raises(DeadlineExceeded):
        await guest.dial(1)
    with pytest.raises(GuestError, match=r"\?\[31mno"):
        await guest.dial(2)
    async with await guest.dial(6):
        await asyncio.sleep(0.5)  # more than anybody reads: it waits in the guest


# archives


class Pulled:
    """An archive that is read in a thread, as the command line does, from a session of the loop's."""

    def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size:
            chunk = asyncio.run_coroutine_threadsafe(anext(self._chunks, b""), self._loop).result()
            if not chunk:
                break
            self.taken += len(chunk)
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


async def fetch(guest: Guest, path: str, into: Path) -> Pulled:
    async with contextlib.aclosing(guest.read_archive(path)) as chunks:
        pulled = Pulled(chunks)
        what = Unpacking(str(into), content=False, archive=False, label=f"box:{path}")
        await asyncio.to_thread(unpack, pulled, what)
    return pulled


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("/climbs", Corrupt, "not allowed"),
        ("/beside", Corrupt, "outside of what was asked for"),
        ("/link", StorageError, "cannot write"),
        ("/hard", Corrupt, "not allowed"),
        ("/time", Corrupt, "malformed"),
        ("/nul", Corrupt, "malformed"),
        ("/noise", Corrupt, "malformed"),
        ("/chain", Corrupt, "malformed"),
        ("/name", LimitExceeded, "bytes of headers"),
        ("/pax", LimitExceeded, "bytes of headers"),
        ("/map", LimitExceeded, "bytes of headers"),
        ("/cut", Corrupt, "unexpected end"),
        ("/refused", GuestError, "on fire"),
    ],
)
async def test_archives_that_are_refused(
    guest: Guest, path: str, error: type[MonocoreError], says: str, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "secret").write_text("kept")
    async with asyncio.timeout(SOON):
        with pytest.raises(error, match=says):
            await fetch(guest, path, into)
    inside(tmp_path)


@pytest.mark.parametrize(("path", "found"), [("/absolute", {"top/absolute"}), ("/device", set[str]())])
async def test_archives_that_are_taken(guest: Guest, path: str, found: set[str], tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "secret").write_text("kept")
    async with asyncio.timeout(SOON):
        await fetch(guest, path, into)
    inside(tmp_path)
    assert {str(one.relative_to(into)) for one in into.rglob("*")} == {"top", *found}


@pytest.mark.parametrize("path", ["/endless", "/big"])
async def test_archives_without_end(opened: World, attacker: Life, path: str, tmp_path: Path) -> None:
    """As large as whoever wants it has patience; meanwhile nothing grows but the target folder."""
    into = tmp_path / "into"
    into.mkdir()
    (tmp_path / "secret").write_text("kept")
    async with opened.bounded():
        async with session(attacker) as guest:
            fetching = asyncio.create_task(fetch(guest, path, into))
            await asyncio.sleep(1)
            assert not fetching.done()
        with pytest.raises(GuestError):
            async with asyncio.timeout(SOON):
                await fetching
    inside(tmp_path)


def inside(folder: Path) -> None:
    """Nothing but the target was touched."""
    assert sorted(one.name for one in folder.iterdir()) == ["into", "secret"]
    assert (folder / "secret").read_text() == "kept"
    assert (folder / "secret").stat().st_nlink == 1


# images


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("/noise", LimitExceeded, "more than the 8388608 bytes"),
        ("/big", LimitExceeded, "more than the 8388608 bytes"),
        ("/endless", LimitExceeded, "more than the 8388608 bytes"),
        ("/climbs", GuestError, "is no layer"),
        ("/hard", GuestError, "is no layer"),
        ("/nul", GuestError, "is no layer"),
        ("/time", GuestError, "is no layer"),
        ("/cut", GuestError, "is no layer"),
        ("/refused", GuestError, "on fire"),
    ],
)
async def test_commits(
    opened: World,
    committed: Life,
    what: str,
    error: type[MonocoreError],
    says: str,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Store.commit, "__kwdefaults__", {"names": (), "limits": Limits(layer=8 * MIB)})
    async with opened.bounded(), asyncio.timeout(20):
        await say(committed.sandbox.guest, f"changes:{what}")
        before = stored(opened)
        with pytest.raises(error, match=says):
            await commit(opened.sandboxes, committed.record.id, "shop:2", Commit())
        assert stored(opened) == before


async def test_a_commit_that_never_comes_ends_with_the_sandbox(opened: World, committed: Life) -> None:
    async with opened.bounded():
        await say(committed.sandbox.guest, "changes:/silent")
        committing = asyncio.create_task(commit(opened.sandboxes, committed.record.id, "", Commit()))
        await asyncio.sleep(0.5)
        assert not committing.done()
        await opened.sandboxes.remove(committed.record.id, force=True)
        with pytest.raises(GuestError):
            await committing


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def committed(opened: World) -> AsyncIterator[Life]:
    """One whose first session lasts, since that is the one that commits."""
    life = await opened.begin("honest")
    yield life
    await opened.clear()


def stored(world: World) -> set[str]:
    """Every file of the store's layers, and what is on the way to it."""
    folders = [world.home / name for name in ("layers", "tmp")]
    return {
        str(path) for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()
    }
