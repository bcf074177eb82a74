"""A program that is asked once is heard within bounds, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from monocore_core.errors import LimitExceeded
from monocore_core.processes.asking import ask

_PATIENCE = 60
#: How often a race is run that was lost once in fifty.
_ROUNDS = 150


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A pipe whose end comes when the last process that has it open is gone."""
    path = tmp_path / "held"
    os.mkfifo(path)
    return path


async def test_it_hears_what_it_is_sent_and_says_how_it_ended(tmp_path: Path) -> None:
    answer = await ask(
        ("sh", "-c", 'read word; echo "$word $NAME"; pwd; echo shown to nobody >&2; exit 3'),
        sent=b"hello\n",
        limit=100,
        seconds=_PATIENCE,
        cwd=tmp_path,
        environ={"NAME": "ann", "PATH": os.environ["PATH"]},
    )
    assert (answer.status, answer.output) == (3, f"hello ann\n{tmp_path}\n".encode())
    assert "ann" not in repr(answer), "it may be a secret"
    killed = await ask(("sh", "-c", "kill -9 $$"), limit=0, seconds=_PATIENCE)
    assert (killed.status, killed.output) == (-9, b"")


async def test_it_need_not_read_what_it_is_sent() -> None:
    for _ in range(20):
        assert (await ask(("true",), sent=bytes(1 << 20), limit=0, seconds=_PATIENCE)).status == 0


async def test_as_much_as_the_limit_may_be_said() -> None:
    whole = await ask(("head", "-c", "300000", "/dev/zero"), limit=300000, seconds=_PATIENCE)
    assert whole.output == bytes(300000)
    with pytest.raises(LimitExceeded, match="more than 299999 bytes"):
        await ask(("head", "-c", "300000", "/dev/zero"), limit=299999, seconds=_PATIENCE)


async def test_one_that_never_stops_speaking_is_always_ended() -> None:
    async with asyncio.timeout(_PATIENCE):
        for _ in range(_ROUNDS):
            with pytest.raises(LimitExceeded):
                await ask(("yes",), limit=1 << 20, seconds=_PATIENCE)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 1000 & read word; echo heard; exec sleep 1000", id="it does not answer"),
        pytest.param("sleep 1000 &", id="its children keep its output"),
    ],
)
async def test_one_that_takes_too_long_is_killed_with_its_group(held: Path, script: str) -> None:
    argv = ("sh", "-c", f"exec 9>{held}; {script}")
    task = asyncio.create_task(ask(argv, sent=b"\n", limit=100, seconds=2))
    with await asyncio.to_thread(held.open, "rb") as end:
        with pytest.raises(TimeoutError):
            await task
        assert await asyncio.to_thread(end.read) == b""


async def test_a_cancelled_question_leaves_nothing(held: Path) -> None:
    argv = ("sh", "-c", f"exec 9>{held}; sleep 1000")
    task = asyncio.create_task(ask(argv, limit=100, seconds=_PATIENCE))
    with await asyncio.to_thread(held.open, "rb") as end:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(end.read) == b""


async def test_one_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ask((tmp_path / "none",), limit=100, seconds=_PATIENCE)
