"""A small client of QEMU's machine protocol (QMP, ``docs/interop/qmp-spec.rst`` in QEMU): JSON objects, a line each.

QEMU runs beside a hostile guest, so its words are bounded and checked like any other input.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping

from monocore_core.errors import MachineError
from monocore_core.vmmkit.jsontext import Json, at, parse

#: Bytes of one line; the longest honest answers are a few kilobytes.
MAX_LINE = 256 * 1024
#: Messages to a client before us that may come before the greeting. QEMU writes what it still has to say to whoever is connected then: an answer to
#: what was asked last, events of that moment (seen once in some ten thousand connections that follow one another at once, QEMU 7.2).
_STRAYS = 64

Message = dict[str, Json]


def parse_message(line: bytes) -> Message:
    """One line as an object.

    Raises:
        MachineError: not a JSON object.
    """
    try:
        value = parse(line)
    except ValueError as error:
        raise MachineError("QEMU's monitor sent something that is not JSON") from error
    if not isinstance(value, dict):
        raise MachineError("QEMU's monitor sent something that is not an object")
    return value


class Qmp:
    """An open monitor. Commands may run concurrently; they are answered in order."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connected: socket.socket,
        on_event: Callable[[Message], None],
    ) -> None:
        self._socket = connected
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._number = int.from_bytes(
            os.urandom(5)
        )  # an answer meant for another client is not taken for ours
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, connected: socket.socket, on_event: Callable[[Message], None]) -> Qmp:
        """Greet QEMU over a connected socket, which is owned from here on, and enter command mode.

        Raises:
            MachineError: it is not QEMU, or is gone.
        """
        reader, writer = await asyncio.open_unix_connection(sock=connected, limit=MAX_LINE)
        qmp = cls(reader, writer, connected, on_event)
        try:
            await qmp._greeting()
            qmp._task = asyncio.create_task(qmp._pump())
            await qmp.execute("qmp_capabilities")
        except BaseException:
            await qmp.aclose()
            raise
        return qmp

    async def execute(self, command: str, arguments: Mapping[str, Json] | None = None) -> Json:
        """Run a command and give its result.

        Raises:
            MachineError: refused, with QEMU's reason, or QEMU is gone.
        """
        if self._task is None or self._task.done():
            raise MachineError(f"QEMU's monitor is closed ({command})")
        request: Message = {"execute": command, "id": self._next()}
        if arguments:
            request["arguments"] = dict(arguments)
        return await self._ask(request, None)

    async def hand(self, name: str, descriptor: int) -> None:
        """Give QEMU a descriptor under a name (``getfd``); nothing else may be said meanwhile.

        Raises:
            MachineError: as of :meth:`execute`.
        """
        await self._ask({"execute": "getfd", "id": self._next(), "arguments": {"fdname": name}}, descriptor)

    async def add_to_set(self, number: int, descriptor: int) -> None:
        """Give QEMU a descriptor in a set, which it opens as ``/dev/fdset/NUMBER`` (``add-fd``); nothing else may be said meanwhile.

        Raises:
            MachineError: as of :meth:`execute`.
        """
        arguments: Message = {"fdset-id": number}
        await self._ask({"execute": "add-fd", "id": self._next(), "arguments": arguments}, descriptor)

    async def add_file(self, descriptor: int) -> str:
        """Give QEMU a descriptor as a file (``add-fd``); nothing else may be said meanwhile.

        Returns:
            The path by which commands name it, which must open it as it is open. :meth:`remove_file` takes it back.

        Raises:
            MachineError: as of :meth:`execute`.
        """
        answer = await self._ask({"execute": "add-fd", "id": self._next()}, descriptor)
        return f"/dev/fdset/{at(answer, 'fdset-id')}"

    async def remove_file(self, path: str) -> None:
        """Take back what :meth:`add_file` gave.

        Raises:
            MachineError: as of :meth:`execute`.
        """
        await self.execute("remove-fd", {"fdset-id": int(path.rpartition("/")[2])})

    async def drained(self) -> None:
        """Wait until QEMU has closed the monitor and every event has been seen."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Close. A repeat does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._writer.close()

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, request: Message, descriptor: int | None) -> Json:
        """Send a request, and a descriptor beside it, and wait for its answer."""
        number = self._number
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        line = json.dumps(request).encode() + b"\n"
        try:
            if descriptor is None:
                self._writer.write(line)
                await self._writer.drain()
            else:
                await self._writer.drain()
                socket.send_fds(self._socket, [line], [descriptor])
            return await answer
        except OSError as error:
            raise MachineError(f"QEMU's monitor is closed ({request['execute']})") from error
        finally:
            self._waiting.pop(number, None)

    async def _greeting(self) -> None:
        for _ in range(_STRAYS):
            message = await self._receive()
            if message is None:
                raise MachineError("QEMU's monitor closed without a greeting")
            if "QMP" in message:
                return
        raise MachineError("QEMU's monitor did not greet")

    async def _receive(self) -> Message | None:
        try:
            line = await self._reader.readline()
        except (ValueError, asyncio.LimitOverrunError) as error:
            raise MachineError("QEMU's monitor sent a line that is too long") from error
        except OSError:
            return None
        return parse_message(line) if line.endswith(b"\n") else None

    async def _pump(self) -> None:
        problem = MachineError("QEMU closed its monitor")
        try:
            while (message := await self._receive()) is not None:
                self._dispatch(message)
        except MachineError as error:
            problem = error
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(problem)
            self._writer.close()

    def _dispatch(self, message: Message) -> None:
        if "event" in message:
            self._on_event(message)
            return
        number = message.get("id")
        answer = self._waiting.get(number) if isinstance(number, int) else None
        if answer is None or answer.done():
            return
        if "error" in message:
            reason = at(message, "error", "desc")
            answer.set_exception(MachineError(f"QEMU refused: {str(reason)[:500]}"))
        else:
            answer.set_result(message.get("return"))
