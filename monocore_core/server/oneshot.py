"""Route: one command in a running sandbox, with its input in the request and its output in the answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from monocore_core.errors import ConfigError, DeadlineExceeded, InvalidInput, MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.model.access import Scope
from monocore_core.model.guest import ProcessExit
from monocore_core.model.sandbox import CommandRequest
from monocore_core.runtime.output import LEFT, SILENCE
from monocore_core.serde import structure
from monocore_core.server.app import daemon_of
from monocore_core.server.attach import hang_up
from monocore_core.server.bodies import switch, table_of
from monocore_core.server.problems import problem_of
from monocore_core.server.routing import Entry
from monocore_core.server.streams import stream_lines
from monocore_core.server.texts import TextPieces, text_or_base64
from monocore_core.server.vanishing import unless_gone

#: Bytes of one output that are collected unless the request says otherwise.
USUAL_OUTPUT: Final = 1024 * 1024
#: The most that it may say.
MAX_OUTPUT: Final = 16 * 1024 * 1024
#: Longest time limit, seconds.
MAX_TIMEOUT: Final = 7 * 86400.0
#: Exit status of a command whose time was up, as timeout(1) has it.
TIMED_OUT: Final = 124
CHUNK: Final = 64 * 1024
#: Takes a piece of one output, by its name; waits while there is no room.
Take = Callable[[str, bytes], Awaitable[None]]
#: Pieces of output that wait for a client; then the command does.
MAX_PIECES: Final = 16


@frozen
class OneShot:
    """The body of a request.

    Attributes:
        command: words; the image's entrypoint is no part of it.
        environ: over the image's.
        cwd: "" for the image's.
        user: "" for the image's.
        stdin: text for its standard input.
        stdin_base64: bytes for it; one of the two.
        timeout: seconds until it is hung up on, then killed; None: no limit.
        max_output: bytes of each output that are given; what is beyond is read and left out. None: 1 MiB, or all of a stream.
    """

    command: tuple[str, ...]
    environ: dict[str, str] = field(factory=dict[str, str])
    cwd: str = ""
    user: str = ""
    stdin: str | None = None
    stdin_base64: str | None = None
    timeout: float | None = None
    max_output: int | None = None

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> OneShot:
        """Of a request's body.

        Raises:
            ConfigError: with every problem.
        """
        wanted = structure(table, cls, "the request")
        problems = tuple(wanted.problems())
        if problems:
            brief = problems[0] if len(problems) == 1 else f"{len(problems)} problems"
            raise ConfigError(f"the request: {brief}", problems=problems if len(problems) > 1 else ())
        return wanted

    def problems(self) -> list[str]:
        """What is wrong with the values, a sentence each with its place."""
        found = [] if self.command else ["command: is empty"]
        found += [
            f"environ.{name[:80]}: is not a name of a variable"
            for name in self.environ
            if not name or "=" in name or "\0" in name
        ]
        if self.stdin is not None and self.stdin_base64 is not None:
            found.append("stdin_base64: stdin is given as well")
        if self.timeout is not None and not 0 < self.timeout <= MAX_TIMEOUT:
            found.append(f"timeout: {self.timeout:g} is not more than 0 and at most {MAX_TIMEOUT:g} s")
        if self.max_output is not None and not 0 <= self.max_output <= MAX_OUTPUT:
            found.append(f"max_output: {self.max_output} is not 0 to {MAX_OUTPUT} bytes")
        return found

    def input(self) -> bytes | None:
        """For its standard input; None for none.

        Raises:
            InvalidInput: it is not base64.
        """
        if self.stdin_base64 is None:
            return None if self.stdin is None else self.stdin.encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode(self.stdin_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"the request: stdin_base64: {error}") from error

    def request(self) -> CommandRequest:
        """For the sandbox."""
        return CommandRequest(
            args=self.command,
            entrypoint=(),
            env=tuple(f"{name}={value}" for name, value in self.environ.items()),
            cwd=self.cwd,
            user=self.user,
            stdin=self.stdin is not None or self.stdin_base64 is not None,
        )


async def execute(request: web.Request) -> web.StreamResponse:
    """Run a command to its end. When the client goes away, the command is ended."""
    wanted = OneShot.parse(await table_of(request))
    data = wanted.input()
    life = daemon_of(request).sandboxes.life(request.match_info["id"])
    with life.used():
        process = await life.sandbox.exec(wanted.request())
        if switch(request, "stream"):
            return await stream_lines(request, streamed(process, wanted, data))
        return web.json_response(await unless_gone(request, collected(process, wanted, data)))


ENTRIES: Final = (Entry("POST", "/v1/sandboxes/{id}/exec", execute, Scope.RUN),)


async def collected(process: GuestProcess, wanted: OneShot, data: bytes | None) -> dict[str, object]:
    """Everything of a process, when it has ended. Cancellation ends it."""
    outputs = {name: bytearray() for name in ("stdout", "stderr")}
    most = USUAL_OUTPUT if wanted.max_output is None else wanted.max_output
    over = False

    async def take(name: str, piece: bytes) -> None:
        nonlocal over
        room = most - len(outputs[name])
        outputs[name] += piece[:room]
        over = over or len(piece) > room

    end = await lead(process, wanted.timeout, data, take)
    texts = [text_or_base64(bytes(output), name) for name, output in outputs.items()]
    return {**end, "truncated": over, **texts[0], **texts[1]}


async def streamed(
    process: GuestProcess, wanted: OneShot, data: bytes | None
) -> AsyncGenerator[Mapping[str, object]]:
    """Output as it comes, then the end. A reader who does not take it makes the process wait; closing ends the process."""
    pieces: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MAX_PIECES)
    texts = {name: TextPieces() for name in ("stdout", "stderr")}
    rooms = dict.fromkeys(texts, wanted.max_output)
    over = False

    async def take(name: str, piece: bytes) -> None:
        nonlocal over
        if (room := rooms[name]) is not None:
            over = over or len(piece) > room
            piece, rooms[name] = piece[:room], max(0, room - len(piece))
        if piece:
            await pieces.put((name, piece))

    leading = asyncio.create_task(lead(process, wanted.timeout, data, take))
    try:
        while (found := await _next(pieces, leading)) is not None:
            if told := texts[found[0]].feed(found[1]):
                yield {"stream": found[0], **told}
        for name, text in texts.items():
            if told := text.finish():
                yield {"stream": name, **told}
        try:
            yield {"exit": {**await leading, "truncated": over}}
        except MonocoreError as error:
            yield {"error": problem_of(error)}
    finally:
        leading.cancel()
        await asyncio.wait({leading})


async def lead(
    process: GuestProcess, limit: float | None, data: bytes | None, take: Take
) -> dict[str, object]:
    """See a process to its end: feed it, hand its output on, end it when its time is up or when this is cancelled.

    Raises:
        GuestError: the agent is gone.
        DeadlineExceeded: its time is up, and it cannot be killed.
    """
    began = time.monotonic()
    copies = [_Copy("stdout", process.stdout, take), _Copy("stderr", process.stderr, take)]
    copying = [asyncio.create_task(copy.run()) for copy in copies]
    feeding = asyncio.create_task(_feed(process, data))
    ending = asyncio.create_task(process.wait())
    timed_out = False
    try:
        await asyncio.wait({ending}, timeout=limit)
        if not ending.done():
            timed_out = True
            await hang_up(process, ending)
            if not ending.done():
                raise DeadlineExceeded("the command's time is up, and it could not be killed")
        ended = ending.result()
        seconds = time.monotonic() - began
        await _drained(copies, copying)
        return _end_of(ended, seconds, timed_out=timed_out)
    finally:
        if not ending.done():
            await hang_up(process, ending)
        tasks: set[asyncio.Task[None] | asyncio.Task[ProcessExit]] = {*copying, feeding, ending}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with contextlib.suppress(MonocoreError):
            await process.release()


def _end_of(ended: ProcessExit, seconds: float, *, timed_out: bool) -> dict[str, object]:
    reason = "timeout" if timed_out else "oom" if ended.oom else "exited"
    return {"code": TIMED_OUT if timed_out else ended.code, "reason": reason, "seconds": round(seconds, 6)}


@define(eq=False)
class _Copy:
    """One output on its way: what is silent may be given up, what is waited for may not."""

    name: str
    source: ByteStream
    take: Take
    busy: bool = False
    received: int = 0
    touched: float = field(factory=time.monotonic)

    async def run(self) -> None:
        while data := await self.source.read(CHUNK):
            self.busy = True
            self.received += len(data)
            await self.take(self.name, data)
            self.busy = False
            self.touched = time.monotonic()

    @property
    def alive(self) -> bool:
        return self.busy or time.monotonic() - self.touched < SILENCE


async def _drained(copies: list[_Copy], copying: list[asyncio.Task[None]]) -> None:
    """Wait for the end of the output, once the process has ended.

    Children may hold it open, or write for ever: silence is an end, too, and so is more than can be the process's own.
    """
    waiting = dict(zip(copying, copies, strict=True))
    most = sum(copy.received for copy in copies) + LEFT
    while waiting and sum(copy.received for copy in copies) <= most:
        done, _ = await asyncio.wait(waiting, timeout=SILENCE)
        if not done and not any(copy.alive for copy in waiting.values()):
            return
        for task in done:
            del waiting[task]
            task.result()


async def _feed(process: GuestProcess, data: bytes | None) -> None:
    if data is not None:
        with contextlib.suppress(MonocoreError):  # the agent is gone: the end says so
            await process.write_stdin(data)
            await process.close_stdin()


async def _next(
    pieces: asyncio.Queue[tuple[str, bytes]], leading: asyncio.Task[dict[str, object]]
) -> tuple[str, bytes] | None:
    """The next piece; None when the process has ended and all were taken."""
    getting = asyncio.create_task(pieces.get())
    waits: set[asyncio.Task[tuple[str, bytes]] | asyncio.Task[dict[str, object]]] = {getting, leading}
    try:
        while not getting.done():
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if leading.done() and not getting.done():
                return pieces.get_nowait() if pieces.qsize() else None
        return getting.result()
    finally:
        getting.cancel()
