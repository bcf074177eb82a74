"""Copies of a sandbox that runs: a Python process with its data loaded, ten times over, each of which goes on by itself; and checkpoints of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from attrs import frozen

from monocore_core.client.sdk.aio.client import Client
from monocore_core.client.sdk.aio.sandbox import Sandbox
from monocore_core.errors import MonocoreError, NotFound
from scripts.bench.measure import Claim, Row, Section
from scripts.bench.peers import PeerFailed
from scripts.bench.python_image import python_image
from scripts.bench.served import Served, served

TITLE = "copies of a running sandbox: a Python process that has loaded data, 256 MiB, 1 vCPU"
COPIES = 10
#: What the design asks for, seconds for ten copies.
FORK = 1.5
_LOADED = 60.0
#: Loads a dictionary of some 60 MB, and says again and again who it is and what it draws.
_PROGRAM = """
import os, time
data = {number: f"value {number}" for number in range(400_000)}
while True:
    with open("/said.new", "w") as said:
        said.write(f"{os.uname().nodename} {len(data)} {os.urandom(8).hex()}")
    os.replace("/said.new", "/said")
    time.sleep(0.02)
"""


@frozen
class _Samples:
    """Seconds: until the copies were there, until each had gone on; to write a checkpoint, and to go on from it."""

    fork: list[float]
    all_on: list[float]
    write: list[float]
    resume: list[float]


def measure(cache: Path, quick: bool) -> Section:
    """A daemon of its own."""
    with served(cache, python_image(), "bench/python") as daemon:
        samples, pages = asyncio.run(_measured(daemon, 2 if quick else 7))
    fork = Row("fork", f"fork, {COPIES} copies", tuple(samples.fork))
    rows = (
        fork,
        Row("fork", f"until all {COPIES} have gone on and said so", tuple(samples.all_on)),
        Row("fork", "checkpoint, written and ended", tuple(samples.write)),
        Row("fork", "start --checkpoint, to its first word", tuple(samples.resume)),
    )
    claim = Claim(f"{fork.median:.2f} s for {COPIES} copies (target {FORK} s)", fork.median <= FORK)
    return Section(TITLE, rows, (claim,), (f"a checkpoint takes {pages:.0f} MiB on disk",))


async def _measured(daemon: Served, runs: int) -> tuple[_Samples, float]:
    samples, size = _Samples([], [], [], []), 0.0
    async with (
        await Client.connect(f"unix://{daemon.socket}") as client,
        client.create(daemon.reference, command=["python3", "-c", _PROGRAM], memory="256MiB") as original,
    ):
        await _said(original)
        for number in range(runs):
            began = time.perf_counter()
            made = await original.fork(COPIES)
            samples.fork.append(time.perf_counter() - began)
            said = await asyncio.gather(*map(_said, made))
            samples.all_on.append(time.perf_counter() - began)
            if len(set(said)) != COPIES:
                raise PeerFailed("two copies drew the same")
            await asyncio.gather(*(copy.remove() for copy in made))
            began = time.perf_counter()
            found = await original.checkpoint(f"at{number}")
            samples.write.append(time.perf_counter() - began)
            size = float(str(found["size"])) / 1024**2
            began = time.perf_counter()
            await original.start(checkpoint=f"at{number}")
            before = await original.files.read("/said")
            while await original.files.read("/said") == before:  # noqa: ASYNC110 - a file of the guest
                await asyncio.sleep(0.005)
            samples.resume.append(time.perf_counter() - began)
            await original.remove_checkpoint(f"at{number}")
    return samples, size


async def _said(sandbox: Sandbox) -> str:
    """What its program draws, once it knows who it is."""
    deadline = time.monotonic() + _LOADED
    while time.monotonic() < deadline:
        try:
            words = (await sandbox.files.read("/said")).decode().split()
        except NotFound:
            words = []
        except MonocoreError as error:
            raise PeerFailed(f"a sandbox does not answer ({error}): {await sandbox.refresh()}") from error
        if words and words[0] == sandbox.id:
            return words[2]
        await asyncio.sleep(0.02)
    raise PeerFailed("a sandbox's program says nothing")
