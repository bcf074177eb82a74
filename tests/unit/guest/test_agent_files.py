"""File operations by the agent, on the host's own files."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monocore_core.errors import Conflict, GuestError, InvalidInput, NotFound
from monocore_core.guest.client import Guest
from monocore_core.guest.files import Watch
from monocore_core.model.guestfile import ChangeKind, FileChange, FileKind, FileOwner, WriteMode

#: What inotify holds for one reader.
EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
#: Not UTF-8, as a name of a file may be.
ODD = os.fsdecode(b"n\xff\xfe name\n")


async def one(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def content(guest: Guest, path: Path | str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([part async for part in guest.files.read(str(path), offset=offset, length=length)])


async def test_stat(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / ODD).write_bytes(b"12345")
    (tmp_path / ODD).chmod(0o4751)
    os.utime(tmp_path / ODD, ns=(1, 1_600_000_000_123_456_789))
    (tmp_path / "link").symlink_to(ODD)
    os.mkfifo(tmp_path / "pipe")
    found = await guest.files.stat(str(tmp_path / ODD))
    real = (tmp_path / ODD).stat()
    assert (found.name, found.kind, found.mode, found.size) == (ODD, FileKind.FILE, 0o4751, 5)
    assert (found.uid, found.gid, found.links, found.inode) == (real.st_uid, real.st_gid, 1, real.st_ino)
    assert (found.modified_ns, found.target) == (1_600_000_000_123_456_789, None)
    link = await guest.files.stat(str(tmp_path / "link"), follow=False)
    assert (link.kind, link.target) == (FileKind.LINK, ODD)
    assert (await guest.files.stat(str(tmp_path / "link"))).size == 5
    assert (await guest.files.stat(str(tmp_path / "pipe"))).kind is FileKind.PIPE
    assert (await guest.files.stat(f"{tmp_path}//")).name == tmp_path.name
    root = await guest.files.stat("/")
    assert (root.name, root.kind) == ("/", FileKind.FOLDER)
    with pytest.raises(NotFound, match=r"cannot look at '.*/missing'"):
        await guest.files.stat(str(tmp_path / "missing"))
    with pytest.raises(NotFound, match="link/below"):
        await guest.files.stat(str(tmp_path / "link" / "below"))


async def test_a_folder_in_pages(guest: Guest, tmp_path: Path) -> None:
    tmp_path = tmp_path / "pages"
    tmp_path.mkdir()
    names = sorted([*(f"{n:x}" for n in range(700)), ODD, "é", ".hidden"], key=os.fsencode)
    for name in names:
        (tmp_path / name).touch()
    got, after, pages = list[str](), "", 0
    while True:
        page = await guest.files.list_folder(str(tmp_path), after=after, limit=100)
        got += [entry.name for entry in page.entries]
        pages += 1
        if page.after is None:
            break
        assert page.after == got[-1]
        (tmp_path / page.after).unlink()  # what was told may go meanwhile
        after = page.after
    assert (got, pages) == (names, 8)
    for name in got:
        (tmp_path / name).unlink(missing_ok=True)
    empty = await guest.files.list_folder(str(tmp_path))
    assert (empty.entries, empty.after) == ((), None)
    with pytest.raises(NotFound, match="list the folder"):
        await guest.files.list_folder(str(tmp_path / "missing"))
    with pytest.raises(InvalidInput, match="page size"):
        await guest.files.list_folder("/", limit=10_001)


async def test_make_move_remove(guest: Guest, tmp_path: Path) -> None:
    files, deep = guest.files, tmp_path / "a" / "b" / ODD
    with pytest.raises(NotFound):
        await files.make_folder(str(deep))
    await files.make_folder(str(deep), mode=0o2770, parents=True)
    await files.make_folder(str(deep), parents=True)
    assert (deep.stat().st_mode & 0o7777, deep.parent.stat().st_mode & 0o7777) == (0o2770, 0o755)
    with pytest.raises(Conflict, match="make the folder"):
        await files.make_folder(str(deep))
    (deep / "f").write_text("f")
    (tmp_path / "g").write_text("g")
    with pytest.raises(Conflict, match=r"cannot make '.*/f'"):
        await files.move(str(tmp_path / "g"), str(deep / "f"))
    await files.move(str(tmp_path / "g"), str(deep / "f"), replace=True)
    assert (deep / "f").read_text() == "g"
    with pytest.raises(NotFound, match=r"cannot move '.*/g'"):
        await files.move(str(tmp_path / "g"), str(tmp_path / "h"))
    with pytest.raises(NotFound, match=r"find the folder of '.*/no/h'"):
        await files.move(str(deep), str(tmp_path / "no" / "h"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(Conflict, match="not empty"):
        await files.remove(str(tmp_path / "a"))
    await files.remove(str(tmp_path / "a"), recursive=True)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "outside" / "kept").exists()
    (tmp_path / "link").symlink_to("outside")
    await files.remove(f"{tmp_path}/link/", recursive=True)
    page = await files.list_folder(str(tmp_path))
    assert [entry.name for entry in page.entries] == ["outside", "s"]  # the agent's socket is there
    with pytest.raises(NotFound, match="remove"):
        await files.remove(str(tmp_path / "a"))


async def test_reading(guest: Guest, tmp_path: Path) -> None:
    data = os.urandom(1_000_003)
    (tmp_path / "f").write_bytes(data)
    assert hashlib.sha256(await content(guest, tmp_path / "f")).digest() == hashlib.sha256(data).digest()
    assert await content(guest, tmp_path / "f", 1_000_000) == data[1_000_000:]
    assert await content(guest, tmp_path / "f", 10, 70_000) == data[10:70_010]
    assert await content(guest, tmp_path / "f", 2_000_000) == b""
    assert await content(guest, tmp_path / "f", 0, 0) == b""
    assert (await content(guest, "/proc/self/status")).startswith(b"Name:")
    async for _ in guest.files.read(str(tmp_path / "f")):
        break  # the rest is not wanted
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "pipe")):
        with pytest.raises(GuestError, match=f"'{path}' is not a regular file"):
            await content(guest, path)
    with pytest.raises(NotFound, match="cannot open"):
        await content(guest, tmp_path / "missing")


async def test_writing(guest: Guest, tmp_path: Path) -> None:
    files, path = guest.files, tmp_path / "deep" / ODD
    data = os.urandom(700_001)
    with pytest.raises(NotFound, match="cannot open"):
        await files.write(str(path), one(data))
    await files.write(str(path), one(data), parents=True)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o7777 == 0o644
    await files.write(str(path), one(b"short"), mode=0o4600, owner=FileOwner(os.getuid(), os.getgid()))
    assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (b"short", 0o4600)
    await files.write(str(path), one(b"er"), how=WriteMode.APPEND)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"shorter", 0o600)
    await files.write(str(path), one(b"ee"), how=WriteMode.UPDATE, offset=5)
    assert path.read_bytes() == b"shortee"
    with pytest.raises(Conflict, match="exists"):
        await files.write(str(path), one(b""), how=WriteMode.NEW)
    with pytest.raises(NotFound):
        await files.write(str(tmp_path / "none"), one(b""), how=WriteMode.UPDATE)
    await files.write(str(tmp_path / "none"), one(b""), how=WriteMode.NEW, mode=0o777)
    assert (tmp_path / "none").stat().st_mode & 0o7777 == 0o777
    with pytest.raises(GuestError, match="Is a directory"):
        await files.write(str(tmp_path), one(bytes(1_000_000)))


async def changes(watch: Watch, last: FileChange) -> set[tuple[ChangeKind, str, bool]]:
    seen = set[tuple[ChangeKind, str, bool]]()
    async with asyncio.timeout(20):
        async for change in watch:
            seen.add((change.kind, change.path, change.folder))
            if (change.kind, change.path) == (last.kind, last.path):
                return seen
    raise AssertionError(f"{last} did not come: {seen}")


async def test_watching_a_folder(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    async with await guest.files.watch(str(tmp_path / "w")) as watch:
        (tmp_path / "w" / ODD).write_text("x")
        (tmp_path / "w" / ODD).chmod(0o600)
        (tmp_path / "w" / ODD).rename(tmp_path / "w" / "b")
        (tmp_path / "w" / "b").unlink()
        seen = await changes(watch, FileChange(ChangeKind.DELETED, "b"))
        kinds = (
            ChangeKind.CREATED,
            ChangeKind.MODIFIED,
            ChangeKind.WRITTEN,
            ChangeKind.ATTRIBUTES,
            ChangeKind.MOVED_FROM,
        )
        assert seen == {(kind, ODD, False) for kind in kinds} | {
            (ChangeKind.MOVED_TO, "b", False), (ChangeKind.DELETED, "b", False)
        }  # fmt: skip
        (tmp_path / "w").rmdir()
        await changes(watch, FileChange(ChangeKind.ENDED, ""))
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
    with pytest.raises(NotFound, match="cannot watch"):
        await guest.files.watch(str(tmp_path / "w"))


async def test_watching_what_is_below(guest: Guest, tmp_path: Path) -> None:
    top = tmp_path / "w"
    (top / "old" / "deep").mkdir(parents=True)
    watch = await guest.files.watch(str(top), recursive=True)
    (top / "old" / "deep" / "f").touch()
    await changes(watch, FileChange(ChangeKind.CREATED, "old/deep/f"))
    (top / "new" / "er").mkdir(parents=True)
    await changes(watch, FileChange(ChangeKind.CREATED, "new/er"))
    (top / "new" / "er" / "g").touch()
    await changes(watch, FileChange(ChangeKind.CREATED, "new/er/g"))
    (top / "old").rename(top / "moved")
    seen = await changes(watch, FileChange(ChangeKind.CREATED, "moved/deep/f"))
    assert {(ChangeKind.MOVED_FROM, "old", True), (ChangeKind.MOVED_TO, "moved", True)} <= seen
    (top / "moved" / "deep" / "h").touch()
    await changes(watch, FileChange(ChangeKind.CREATED, "moved/deep/h"))
    (top / "moved").rename(tmp_path / "outside")
    await changes(watch, FileChange(ChangeKind.MOVED_FROM, "moved"))
    (tmp_path / "outside" / "deep" / "unseen").touch()
    (top / "last").touch()
    seen = await changes(watch, FileChange(ChangeKind.CREATED, "last"))
    assert not any("unseen" in path for _, path, _ in seen)
    waiting = asyncio.create_task(anext(watch))
    while not waiting.done():
        await watch.aclose()
        await asyncio.sleep(0)
    with pytest.raises((GuestError, StopAsyncIteration)):
        waiting.result()


async def test_changes_that_nobody_takes_overflow(guest: Guest, tmp_path: Path) -> None:
    watch = await guest.files.watch(str(tmp_path))
    if EVENTS > 20_000:
        pytest.skip("the host's queue of inotify is too long to fill")
    path = tmp_path / ("n" * 200)
    for _ in range(EVENTS // 2):  # three events each
        path.touch()
        path.unlink()
    await changes(watch, FileChange(ChangeKind.OVERFLOW, ""))
    await watch.aclose()


@pytest.mark.parametrize("path", ["", "relative", "/a\0b", "/" + "x" * 4095, "/\ud800"])
async def test_what_is_no_path(guest: Guest, path: str) -> None:
    with pytest.raises(InvalidInput):
        await guest.files.stat(path)
    with pytest.raises(InvalidInput):
        await guest.files.move("/", path)
    with pytest.raises(InvalidInput):
        await guest.files.write(path, one(b""))


async def test_many_at_once(guest: Guest, tmp_path: Path) -> None:
    data = [os.urandom(1000 + n) for n in range(40)]
    await asyncio.gather(
        *(guest.files.write(str(tmp_path / str(n)), one(part)) for n, part in enumerate(data))
    )
    assert await asyncio.gather(*(content(guest, tmp_path / str(n)) for n in range(40))) == data
