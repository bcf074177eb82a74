"""WebSockets: a command with its standard input, its output, its terminal. ``docs/api.md`` has the messages.

Three endpoints differ in how the command is come by, and share the rest: two tasks, one from the client to the command and one
back, and an end that is told. Each side waits for the other, so memory is bounded by a message and a stream's credit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator
from typing import Final, TypeVar

from aiohttp import WSMsgType, web
from attrs import define, field

from monocore_core.errors import Conflict, InvalidInput, MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.guest.streams import ByteStream
from monocore_core.logs import Stream
from monocore_core.model.access import Scope
from monocore_core.model.events import Event
from monocore_core.model.guest import ProcessExit
from monocore_core.runtime.life import FORCE, Life
from monocore_core.runtime.output import LEFT, SILENCE, Listening
from monocore_core.server.access import access_of, local
from monocore_core.server.admission import create_for
from monocore_core.server.app import daemon_of
from monocore_core.server.attached import Client
from monocore_core.server.bodies import command_of, order_of, parse_table
from monocore_core.server.guarding import PROTOCOL
from monocore_core.server.problems import problem_of
from monocore_core.server.routing import Reach, Room
from monocore_core.server.views import view_of_end, view_of_event, view_of_exit

log = logging.getLogger("monocore.server")

T = TypeVar("T")
ROUTES = Room()
#: Largest message that is taken, bytes.
MAX_MESSAGE: Final = 4 * 1024 * 1024
#: Seconds that a client has for its first message.
FIRST: Final = 30.0
#: Seconds between two pings.
HEARTBEAT: Final = 30.0
MAX_CHUNK: Final = 256 * 1024
OUT, ERR = 1, 2
_MARKS = {Stream.STDOUT: OUT, Stream.STDERR: ERR}


@ROUTES.get("/v1/run", Scope.RUN, Reach.CHOSEN)
async def run(request: web.Request) -> web.StreamResponse:
    """Create a sandbox, start it, and attach."""
    socket = await _open(request)
    async with _told(socket):
        first = await _first(socket)
        table = first.get("order")
        if not isinstance(table, dict):
            raise InvalidInput("the first message has no order")
        order = order_of({str(key): value for key, value in table.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
        sandboxes = daemon_of(request).sandboxes
        record = create_for(sandboxes, access_of(request), order)
        client = Client(socket)
        teller = _Teller(socket)
        heard: list[Listening] = []
        starting = asyncio.create_task(
            sandboxes.start(
                record.id, listener=teller.tell, attach=lambda _, listening: heard.append(listening)
            )
        )
        try:
            life = await _unless_left(client, starting)
        except BaseException:
            await client.close()
            raise
        finally:
            await teller.close()
        await socket.send_json({"started": {"id": record.id, "name": record.name}})
        await _attend(
            client, life, heard[0], stdin=first.get("stdin") is True, timing=first.get("timing") is True
        )
        if not life.ended.done() and not client.detached and first.get("tied") is True:
            await life.stop(FORCE, number=signal.SIGTERM)
    return socket


@ROUTES.get("/v1/sandboxes/{id}/attach", Scope.RUN)
async def attach(request: web.Request) -> web.StreamResponse:
    """Attach to a sandbox's command."""
    socket = await _open(request)
    async with _told(socket):
        first = await _first(socket)
        life = daemon_of(request).sandboxes.life(request.match_info["id"])
        if life.output is None:
            raise Conflict(f"sandbox {life.record.name} has no command to attach to")
        listening = life.output.listen()
        await socket.send_json({"started": {"id": life.record.id, "name": life.record.name}})
        await _attend(Client(socket), life, listening, stdin=first.get("stdin") is True)
    return socket


@ROUTES.get("/v1/sandboxes/{id}/exec", Scope.RUN)
async def execute(request: web.Request) -> web.StreamResponse:
    """Start a further process, with its standard input and output."""
    socket = await _open(request)
    async with _told(socket):
        table = (await _first(socket)).get("command")
        if not isinstance(table, dict):
            raise InvalidInput("the first message has no command")
        command = command_of({str(key): value for key, value in table.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
        sandboxes = daemon_of(request).sandboxes
        life = sandboxes.life(request.match_info["id"])
        with life.used():
            process = await sandboxes.exec(life.record.id, command)
            await socket.send_json({"started": {"id": life.record.id, "name": life.record.name}})
            await _attend_exec(Client(socket), process)
    return socket


async def _open(request: web.Request) -> web.WebSocketResponse:
    protocols = (PROTOCOL,) if "Sec-WebSocket-Protocol" in request.headers else ()
    socket = web.WebSocketResponse(
        max_msg_size=MAX_MESSAGE, heartbeat=_heartbeat(request), compress=False, protocols=protocols
    )
    await socket.prepare(request)
    return socket


def _heartbeat(request: web.Request) -> float | None:
    """None for a Unix socket: its other end cannot be lost, only stopped, and then it is waited for."""
    return None if local(request) else HEARTBEAT


@contextlib.asynccontextmanager
async def _told(socket: web.WebSocketResponse) -> AsyncGenerator[None]:
    """Tell the client what went wrong, and close."""
    try:
        yield
    except ConnectionError:
        pass
    except Exception as error:
        if not isinstance(error, MonocoreError):
            log.exception("a WebSocket failed")
        with contextlib.suppress(ConnectionError):
            await socket.send_json({"error": problem_of(error)})
    finally:
        await socket.close()


#: For sockets of other modules.
open_socket, told = _open, _told


async def _first(socket: web.WebSocketResponse) -> dict[str, object]:
    try:
        message = await socket.receive(FIRST)
    except TimeoutError:
        raise InvalidInput(f"no message came within {FIRST:g} s") from None
    if message.type is not WSMsgType.TEXT:
        raise InvalidInput("the first message is not text")
    return parse_table(str(message.data), "the first message")


@define(eq=False)
class _Teller:
    """Sends events of a start to the client, in order, from wherever they come."""

    socket: web.WebSocketResponse
    _events: asyncio.Queue[Event | None] = field(
        factory=lambda: asyncio.Queue[Event | None](4096), init=False
    )
    _task: asyncio.Task[None] = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)

    def __attrs_post_init__(self) -> None:
        self._task = asyncio.create_task(self._send())

    def tell(self, event: Event) -> None:
        """From any thread; when the client is too slow, what it does not take is left out."""
        self._loop.call_soon_threadsafe(self._put, event)

    async def close(self) -> None:
        """Everything that was told has been sent."""
        await asyncio.sleep(0)  # what threads told last is put first
        await self._events.put(None)
        await self._task

    def _put(self, event: Event) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait(event)

    async def _send(self) -> None:
        while (event := await self._events.get()) is not None:
            with contextlib.suppress(ConnectionError):
                await self.socket.send_json({"event": view_of_event(event)})


async def _unless_left(client: Client, starting: asyncio.Task[Life]) -> Life:
    """What ``starting`` gives, unless the client goes away before, which cancels it."""
    try:
        await _first_of(client.gone, starting)
        if not starting.done():
            raise ConnectionResetError("the client went away")
        return starting.result()
    finally:
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})


async def _attend(
    client: Client, life: Life, listening: Listening, *, stdin: bool, timing: bool = False
) -> None:
    """Serve an attached client to the command's end, or until it leaves; with ``timing`` tell the stages that came after the start."""
    told = len(life.sandbox.stages)
    client.serve(life.process, stdin=stdin)
    sending = asyncio.create_task(_send_all(client.socket, listening))
    ending = asyncio.ensure_future(asyncio.shield(life.ended))
    try:
        await _first_of(client.gone, ending)
        if ending.done():
            await _first_of(client.gone, sending)
            end = ending.result()
            with contextlib.suppress(ConnectionError):
                for stage in life.sandbox.stages[told:] if timing else ():
                    await client.socket.send_json({"event": view_of_event(stage)})
                await client.socket.send_json(
                    {"exit": {**view_of_end(end), "oom": end.reason.value == "oom"}}
                )
        elif (error := client.error) is not None:
            raise error
    finally:
        listening.close()
        await client.close()
        for task in (sending, ending):
            task.cancel()
        await asyncio.gather(sending, ending, return_exceptions=True)


async def _send_all(socket: web.WebSocketResponse, listening: Listening) -> None:
    with contextlib.suppress(ConnectionError):
        async for stream, data in listening:
            await socket.send_bytes(bytes([_MARKS[stream]]) + data)
        for mark in (OUT, ERR):
            await socket.send_bytes(bytes([mark]))


async def _attend_exec(client: Client, process: GuestProcess) -> None:
    """Serve the client of a further process. When it leaves, the process is hung up on, and then killed."""
    client.serve(process, stdin=True)
    flows = [_Flow(OUT, process.stdout), _Flow(ERR, process.stderr)]
    copying = [asyncio.create_task(flow.copy(client.socket)) for flow in flows]
    ending = asyncio.create_task(process.wait())
    try:
        await _first_of(client.gone, ending)
        if not ending.done():
            if not client.detached:
                await hang_up(process, ending)
            if (error := client.error) is not None:
                raise error
            return
        ended = ending.result()
        for flow, copy in zip(flows, copying, strict=True):
            await _drained(flow, copy, client)
        with contextlib.suppress(ConnectionError):
            await client.socket.send_json({"exit": view_of_exit(ended)})
    finally:
        await client.close()
        for task in (*copying, ending):
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        await asyncio.wait({ending})
        with contextlib.suppress(MonocoreError):
            await process.release()


async def hang_up(process: GuestProcess, ending: asyncio.Task[ProcessExit]) -> None:
    """Have a process end as when its terminal goes away, and then by force. It may still run when its guest does not answer."""
    with contextlib.suppress(MonocoreError):
        for number in (signal.SIGHUP, signal.SIGKILL):
            await process.signal(number, group=True)
            await asyncio.wait({ending}, timeout=FORCE)
            if ending.done():
                return


@define(eq=False)
class _Flow:
    """One of a process's outputs on its way to the client."""

    mark: int
    source: ByteStream
    moved: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    sending: bool = field(default=False, init=False)

    async def copy(self, socket: web.WebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.source.read(MAX_CHUNK):
                self.sending = True
                self.received += len(data)
                await socket.send_bytes(bytes([self.mark]) + data)
                self.sending = False
                self.moved += 1
            await socket.send_bytes(bytes([self.mark]))


async def _drained(flow: _Flow, task: asyncio.Task[None], client: Client) -> None:
    """Wait for the end of a process's output, however slowly it is taken.

    Its children may hold it open, or write for ever: what is silent for a while is given up, and what is more than can be the process's own.
    """
    most = flow.received + LEFT
    while not task.done() and not client.gone.done() and flow.received <= most:
        before = flow.moved
        await _first_of(task, client.gone, limit=SILENCE)
        if flow.moved == before and not flow.sending:
            return


async def _first_of(
    one: asyncio.Future[None], other: asyncio.Future[T], *, limit: float | None = None
) -> None:
    """Wait until one of the two is done, whichever way, or for so many seconds."""
    waits: set[asyncio.Future[None] | asyncio.Future[T]] = {one, other}
    await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
