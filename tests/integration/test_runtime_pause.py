"""Sandboxes that are paused, for real: nothing of them runs, what needs their guest is refused, and they go on where they were."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from monocore_core.config.values import Settings
from monocore_core.errors import Conflict
from monocore_core.model.record import EndReason, SandboxState
from monocore_core.model.sandbox import CommandRequest
from monocore_core.runtime.life import Life
from monocore_core.runtime.output import Listening
from monocore_core.runtime.sandboxes import Sandboxes
from tests.integration.test_runtime import home, image, order, sandboxes

__all__ = ["home", "image", "sandboxes"]
pytestmark = pytest.mark.integration
#: Seconds of silence, in which a guest that ran would have written many lines.
PAUSE = 2.0
COUNTING = "while :; do date +%s; sleep 0.05; done"


class Heard:
    """What a sandbox writes: the seconds since the epoch that its clock shows, a line each."""

    def __init__(self, life: Life) -> None:
        assert life.output is not None
        self._listening: Listening = life.output.listen()
        self._next = asyncio.ensure_future(anext(self._listening))
        self._text = ""

    @property
    def clock(self) -> list[int]:
        return [int(line) for line in self._text.split("\n")[:-1]]

    async def until(self, second: float) -> None:
        """Listen until the guest's clock shows so much."""
        async with asyncio.timeout(60):
            while not self.clock or self.clock[-1] < second:
                self._take(await self._next)

    async def silence(self) -> None:
        """Listen until nothing comes any more."""
        async with asyncio.timeout(60):
            while (await asyncio.wait({self._next}, timeout=PAUSE))[0]:
                self._take(self._next.result())

    def leave(self) -> None:
        self._next.cancel()
        self._listening.close()

    def _take(self, piece: tuple[object, bytes]) -> None:
        self._text += piece[1].decode()
        self._next = asyncio.ensure_future(anext(self._listening))


async def test_a_paused_sandbox_stands_still_and_goes_on(sandboxes: Sandboxes, image: str) -> None:
    began = time.time()
    sandboxes.create(order(image, "sh", "-c", COUNTING, name="pausing"))
    life = await sandboxes.start("pausing")
    heard = Heard(life)
    await heard.until(began - 1)
    await life.pause()
    await life.pause()
    assert sandboxes.get("pausing").state is SandboxState.PAUSED
    with pytest.raises(Conflict, match="is paused"):
        await sandboxes.exec("pausing", CommandRequest(args=("true",)))
    with pytest.raises(Conflict, match="is paused"):
        await sandboxes.kill("pausing", 15)
    await heard.silence()
    resumed = time.time()
    await life.resume()
    await life.resume()
    assert sandboxes.get("pausing").state is SandboxState.RUNNING
    await heard.until(resumed - 1)  # its clock is right again
    assert max(after - before for before, after in pairwise(heard.clock)) >= PAUSE - 1
    kinds = [one.kind for one in sandboxes.book.happenings.since(0)]
    assert kinds[:4] == ["created", "started", "paused", "resumed"]

    await life.pause()
    heard.leave()
    end = await sandboxes.stop("pausing", 0)
    assert end.reason is EndReason.KILLED
    assert sandboxes.get("pausing").state is SandboxState.EXITED
    with pytest.raises(Conflict):
        sandboxes.life("pausing", paused=True)


async def test_the_next_daemon_finds_it_paused(home: Path, image: str) -> None:
    async with Sandboxes.open(Settings(home)) as before:
        before.create(order(image, "sh", "-c", COUNTING, name="found"))
        await (await before.start("found")).pause()
    async with Sandboxes.open(Settings(home)) as later:
        assert later.get("found").state is SandboxState.PAUSED
        found = later.life("found", paused=True)
        assert not found.awake.is_set()
        heard = Heard(found)
        await heard.silence()
        resumed = time.time()
        await found.resume()
        await heard.until(resumed - 1)
        heard.leave()
        await later.remove("found", force=True)
