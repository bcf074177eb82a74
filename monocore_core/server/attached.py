"""An attached client, and what it says on its WebSocket: for the command, once there is one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from aiohttp import WSMsgType, web

from monocore_core.errors import InvalidInput, MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.model.guest import TerminalSize
from monocore_core.server.bodies import parse_table
from monocore_core.server.sandboxes import signal_number

#: Bytes of input that wait for a command, before the client has to.
MAX_WAITING: Final = 16 * 1024 * 1024
#: Seconds that a command has to take the input of a client that has left.
SETTLING: Final = 2.0
IN: Final = 0


class Client:
    """What an attached client says: input, signals, its terminal's size, that it leaves.

    It is listened to from the beginning, so that one who goes away is noticed; what it says for the command waits until there is
    one. Input waits apart, so that a command that does not read keeps no signal away.

    Attributes:
        gone: done when nothing more will come.
        detached: whether it said that it leaves.
        error: what was wrong with what it said, or None.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.detached = False
        self.error: MonocoreError | None = None
        self._process: asyncio.Future[GuestProcess | None] = asyncio.get_running_loop().create_future()
        self._stdin = False
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting = 0
        self._room = asyncio.Event()
        self.gone = asyncio.create_task(self._receive())
        self._feeding = asyncio.create_task(self._feed())

    def serve(self, process: GuestProcess | None, *, stdin: bool) -> None:
        """From now on what it says is for this process."""
        self._stdin = stdin
        self._process.set_result(process)

    async def close(self) -> None:
        """Stop listening, once the command has what was said to it before a leave. A repeat does nothing."""
        if self.detached:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLING):
                    await self._taken()
        for task in (self.gone, self._feeding):
            task.cancel()
        await asyncio.gather(self.gone, self._feeding, return_exceptions=True)

    async def _taken(self) -> None:
        """No input waits any more."""
        while self._waiting and not self._feeding.done():
            self._room.clear()
            await self._room.wait()

    async def _receive(self) -> None:
        try:
            async for message in self.socket:
                if message.type is WSMsgType.TEXT:
                    await self._heard(parse_table(str(message.data), "a message"))
                elif message.type is WSMsgType.BINARY:
                    await self._got(bytes(message.data))
                if self.detached:
                    return
        except MonocoreError as error:
            self.error = error

    async def _heard(self, table: Mapping[str, object]) -> None:
        process = await asyncio.shield(self._process)
        match table:
            case {"resize": [int() as rows, int() as columns]} if 0 < rows < 65536 and 0 < columns < 65536:
                if process is not None:
                    await process.resize(TerminalSize(rows, columns))
            case {"signal": number}:
                if process is not None:
                    await process.signal(signal_number(number))
            case {"detach": True}:
                self.detached = True
            case _:
                raise InvalidInput(f"a message is not understood: {str(table)[:100]}")

    async def _got(self, data: bytes) -> None:
        if data[:1] != bytes([IN]):
            raise InvalidInput("a binary message does not begin with 0")
        self._input.put_nowait(data[1:] or None)
        self._waiting += len(data)
        while self._waiting > MAX_WAITING:
            self._room.clear()
            await self._room.wait()

    async def _feed(self) -> None:
        process = await asyncio.shield(self._process)
        with contextlib.suppress(MonocoreError):  # the command has ended, or its machine: the end says so
            while True:
                data = await self._input.get()
                if process is not None and self._stdin:
                    if data is None:
                        await process.close_stdin()
                    else:
                        await process.write_stdin(data)
                self._waiting -= len(data or b"") + 1
                self._room.set()
