"""Keyed folders: what is made once, what is not made by halves, who may take away."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.errors import InvalidInput, StorageError
from monocore_core.keyed import (
    Check,
    KeyedFolders,
    locked,
    read_record,
    shared,
    sync_all,
    take,
    write_record,
)


def find(folder: Path) -> str | None:
    table = read_record(folder, "test 1")
    return str(table["text"]) if table else None


def writer(text: str, made: list[str]) -> Callable[[Path, Path, Check], str]:
    def build(work: Path, final: Path, check: Check) -> str:
        check()
        assert not final.exists()
        made.append(text)
        write_record(work, {"format": "test 1", "text": text})
        return text

    return build


@pytest.fixture
def folders(tmp_path: Path) -> KeyedFolders:
    made = KeyedFolders(tmp_path / "state")
    made.prepare()
    return made


async def test_made_once_found_again_and_removed(folders: KeyedFolders) -> None:
    made: list[str] = []
    results = await asyncio.gather(*(folders.ensure("key", find, writer(f"{n}", made)) for n in range(5)))
    assert len(made) == 1
    assert set(results) == set(made)
    assert list(folders) == ["key"]
    assert await folders.find("key", find) == made[0]
    await folders.remove("key")
    await folders.remove("key")
    assert list(folders) == []
    assert await folders.find("key", find) is None


async def test_what_fails_leaves_nothing(folders: KeyedFolders) -> None:
    def build(work: Path, final: Path, check: Check) -> str:
        del final, check
        (work / "folder").mkdir()
        (work / "missing" / "file").touch()
        return "never"

    with pytest.raises(StorageError, match=r"missing/file: No such file"):
        await folders.ensure("key", find, build)
    assert list(folders) == []
    assert list(folders.work.iterdir()) == []


async def test_cancelled_work_is_stopped_and_awaited(folders: KeyedFolders) -> None:
    loop, began, ended = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def build(work: Path, final: Path, check: Check) -> str:
        del final
        (work / "half").touch()
        loop.call_soon_threadsafe(began.set)
        try:
            while True:
                check()
        finally:
            ended.set()

    task = asyncio.create_task(folders.ensure("key", find, build))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert list(folders.work.iterdir()) == []


async def test_what_may_not_go_stays(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(16, "busy", str(folder))

    folders = KeyedFolders(tmp_path / "state", refuse)
    folders.prepare()
    await folders.ensure("key", find, writer("text", []))
    with pytest.raises(StorageError, match="busy"):
        await folders.remove("key")
    assert await folders.find("key", find) == "text"


async def test_only_the_work_of_the_dead_is_cleaned_up(folders: KeyedFolders) -> None:
    for key in ("dead", "alive"):
        (folders.work / key / "inner").mkdir(parents=True)
    async with locked(folders.lock("alive")):
        folders.prepare()
        assert [path.name for path in folders.work.iterdir()] == ["alive"]
    folders.prepare()
    assert list(folders.work.iterdir()) == []


async def test_locks_are_shared_or_held_alone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with shared(lock), shared(lock):
        assert take(lock) is None
        other = take(lock, exclusive=False)
        assert other is not None
        os.close(other)
    async with locked(lock):
        assert take(lock, exclusive=False) is None
    alone = take(lock)
    assert alone is not None
    lock.unlink()
    new = take(lock)  # another file: whoever waits for the old one must not believe that it holds the lock
    assert new is not None
    os.close(new)
    os.close(alone)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"format": "other"}', "{}", "[" * 100_000])
def test_records_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "root.json").write_text(text)
    assert read_record(tmp_path, "test 1") is None


def test_a_record_is_written_once(tmp_path: Path) -> None:
    write_record(tmp_path, {"format": "test 1", "text": "é"})
    assert find(tmp_path) == "é"
    with pytest.raises(FileExistsError):
        write_record(tmp_path, {})
    sync_all(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_all(tmp_path / "nothing")


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "A", "x" * 129, "a\n"])
def test_what_is_no_key(folders: KeyedFolders, key: str) -> None:
    with pytest.raises(InvalidInput, match="is not a key"):
        folders.folder(key)
