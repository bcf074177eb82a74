"""A program that is asked once is heard within bounds, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from monocore_core.errors import LimitExceeded
from monocore_core.processes.asking import ask

_PATIENCE = 60
#: How often a race is run that was lost once in fifty.
_ROUNDS = 150


def _group_is_gone(group: int) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


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


async def test_one_that_does_not_answer_is_killed_with_its_group(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $$ >{tmp_path}/group; read word; echo heard; exec sleep 1000"
    with pytest.raises(TimeoutError):
        await ask(("sh", "-c", script), sent=b"\n", limit=100, seconds=0.5)
    assert _group_is_gone(int((tmp_path / "group").read_text()))


async def test_one_whose_children_keep_its_output_is_killed_with_them(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await ask(("sh", "-c", f"sleep 1000 & echo $$ >{tmp_path}/group"), limit=100, seconds=0.5)
    assert _group_is_gone(int((tmp_path / "group").read_text()))


async def test_a_cancelled_question_leaves_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "group")
    script = f"echo $$ >{tmp_path}/group; sleep 1000"
    task = asyncio.create_task(ask(("sh", "-c", script), limit=100, seconds=_PATIENCE))
    group = int(await asyncio.to_thread((tmp_path / "group").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _group_is_gone(group)


async def test_one_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ask((tmp_path / "none",), limit=100, seconds=_PATIENCE)
