"""Many clients at once: what sandboxes write reaches all of them whole and in order, small requests stay quick, and who stops reading costs little."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
from attrs import frozen

from monocore_core.testing.samples import busybox_image
from scripts.bench.measure import Claim, Row, Section
from scripts.bench.peers import PeerFailed
from scripts.bench.served import served

TITLE = "load: clients that stream, small requests meanwhile"
#: What the issue asks for: seconds, and MiB that the daemon may grow for each client that does not read.
PROMPT, EACH = 0.05, 2.0
#: Lines that a command writes in one go, a second after the one before.
LINES: Final = 500
#: Seconds between two small requests, and how much longer than planned a stream may take.
_PAUSE, _GRACE = 0.02, 600.0


@frozen
class Plan:
    """How much of it.

    Attributes:
        sandboxes: that run.
        clients: that stream, shared among them.
        rounds: seconds, about, that each streams.
        stuck: clients more, whose commands write without end, and who read nothing.
    """

    sandboxes: int
    clients: int
    rounds: int
    stuck: int


@frozen
class Outcome:
    """What came of it.

    Attributes:
        whole: streams that came whole and in order.
        wrong: a sentence for each other one.
        moved: bytes of all streams.
        seconds: that it took.
        prompt: seconds that each small request took.
        grown: bytes of memory that the daemon had more at its largest.
    """

    whole: int
    wrong: tuple[str, ...]
    moved: int
    seconds: float
    prompt: tuple[float, ...]
    grown: int


FULL: Final = Plan(sandboxes=20, clients=200, rounds=60, stuck=10)
QUICK: Final = Plan(sandboxes=5, clients=50, rounds=10, stuck=4)


def measure(cache: Path, quick: bool) -> Section:
    """A daemon of its own."""
    plan = QUICK if quick else FULL
    with served(cache, busybox_image(), "bench/small") as daemon:
        names = daemon.idle(plan.sandboxes)
        outcome = asyncio.run(drive(daemon.socket, daemon.pid, names, plan))
    return _section(plan, outcome)


async def drive(socket: Path, pid: int, sandboxes: Sequence[str], plan: Plan) -> Outcome:
    """Stream from sandboxes that run, over a daemon's Unix socket."""
    connector = aiohttp.UnixConnector(str(socket), limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        before, began = _resident(pid), time.monotonic()
        probing = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.bench.load", str(socket), sandboxes[0],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        watching = asyncio.create_task(_largest(pid))
        stuck = [
            asyncio.create_task(_stick(client, sandboxes[at % len(sandboxes)])) for at in range(plan.stuck)
        ]
        try:
            async with asyncio.timeout(plan.rounds + _GRACE):
                told = await asyncio.gather(
                    *(
                        _stream(client, sandboxes[at % len(sandboxes)], at, plan.rounds)
                        for at in range(plan.clients)
                    )
                )
        finally:
            for task in (*stuck, watching):
                task.cancel()
            await asyncio.wait([*stuck, watching])
            said, _ = await probing.communicate(b"")
        prompt: list[float] = json.loads(said)
        failed = [f"a client that does not read: {one.exception()}" for one in stuck if not one.cancelled()]
        largest = watching.result()
    wrong = (*failed, *(words for words, _ in told if words))
    moved = sum(size for _, size in told)
    whole = sum(not words for words, _ in told)
    return Outcome(whole, wrong, moved, time.monotonic() - began, tuple(prompt), max(0, largest - before))


async def _stream(client: aiohttp.ClientSession, sandbox: str, number: int, rounds: int) -> tuple[str, int]:
    """What was wrong with one stream, or "", and its bytes."""
    first = number * 10_000_000
    script = f"n=0; while [ $n -lt {rounds} ]; do seq $(({first}+n*{LINES})) $(({first}+n*{LINES}+{LINES - 1})); n=$((n+1)); sleep 1; done"
    got, size, code = hashlib.sha256(), 0, None
    async with client.ws_connect(f"http://d/v1/sandboxes/{sandbox}/exec", max_msg_size=0) as socket:
        await socket.send_json({"command": {"args": ["sh", "-c", script], "entrypoint": []}})
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                data = bytes(message.data)
                if data[0] != 1 and len(data) > 1:
                    return f"client {number}: {data[1:100]!r}", size
                got.update(data[1:])
                size += len(data) - 1
            else:
                said = json.loads(message.data)
                if "error" in said:
                    return f"client {number}: {said['error']['detail']}", size
                code = said.get("exit", {}).get("code", code)
    wanted = b"".join(b"%d\n" % line for line in range(first, first + rounds * LINES))
    if got.digest() != hashlib.sha256(wanted).digest() or code != 0:
        return f"client {number}: {size} bytes of {len(wanted)}, status {code}", size
    return "", size


async def _stick(client: aiohttp.ClientSession, sandbox: str) -> None:
    """Begin a stream without end, and read nothing of it."""
    async with client.ws_connect(f"http://d/v1/sandboxes/{sandbox}/exec", max_msg_size=0) as socket:
        await socket.send_json({"command": {"args": ["yes"], "entrypoint": []}})
        await asyncio.Event().wait()


async def _largest(pid: int) -> int:
    """The most memory that a process has until this is cancelled."""
    largest = 0
    try:
        while True:
            largest = max(largest, _resident(pid))
            await asyncio.sleep(0.25)
    except asyncio.CancelledError:
        return largest


def _resident(pid: int) -> int:
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise PeerFailed("the daemon has ended")


def _section(plan: Plan, outcome: Outcome) -> Section:
    row = Row(
        "load",
        "GET /v1/sandboxes/{id}",
        outcome.prompt,
        f"{plan.clients} clients stream from {plan.sandboxes} sandboxes",
    )
    p99, grown, most = row.percentile(99), outcome.grown / 2**20, 64 + EACH * (plan.clients / 10 + plan.stuck)
    claims = (
        Claim(f"{outcome.whole} of {plan.clients} streams came whole and in order", outcome.whole == plan.clients),
        Claim(f"p99 of a small request {p99 * 1e3:.1f} ms (target {PROMPT * 1e3:g} ms), of {len(outcome.prompt)}", p99 < PROMPT),
        Claim(f"the daemon grew by {grown:.1f} MiB at most (target {most:g} MiB), {plan.stuck} clients read nothing", grown <= most),
    )  # fmt: skip
    notes = (f"{outcome.moved / 2**20:.1f} MiB in {outcome.seconds:.0f} s", *outcome.wrong[:5])
    return Section(TITLE, (row,), claims, notes)


def _probe(socket: str, sandbox: str) -> list[float]:
    """How long small requests take, on one connection, until standard input ends; in a process of its own, which streams nothing."""

    async def ask() -> list[float]:
        found: list[float] = []
        ending = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as client:
            while not ending.done():
                began = time.monotonic()
                async with client.get(f"http://d/v1/sandboxes/{sandbox}") as answer:
                    await answer.read()
                    answer.raise_for_status()
                found.append(time.monotonic() - began)
                await asyncio.sleep(_PAUSE)
        return found

    return asyncio.run(ask())


if __name__ == "__main__":
    print(json.dumps(_probe(sys.argv[1], sys.argv[2])))
