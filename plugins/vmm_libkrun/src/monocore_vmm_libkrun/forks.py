"""Our end of the fork server: started when the first machine is, ended with the backend."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from monocore_core.errors import MachineError
from monocore_core.jail import Confinement
from monocore_core.model.security import Layer
from monocore_core.processes import watch
from monocore_core.vmmkit.console import LastWords
from monocore_core.vmmkit.process import Process, spawn, start_time
from monocore_vmm_libkrun.calls import Call
from monocore_vmm_libkrun.confine import told
from monocore_vmm_libkrun.library import Libraries
from monocore_vmm_libkrun.messages import Inbox, Message, Outbox

#: Seconds until the server must have loaded the library, or made a process.
_PATIENCE = 30.0


@frozen
class Forked:
    """A machine's process.

    Attributes:
        process: watched.
        status: its exit status, when it ends.
        layers: that confine it.
    """

    process: Process
    status: asyncio.Future[int]
    layers: frozenset[Layer]


class ForkServer:
    """A running server. Use :meth:`start`.

    Args:
        connection: to it.
        process: the server's.
        words: what it says on its standard error.
        libraries: that it loads.
    """

    def __init__(
        self, connection: socket.socket, process: Process, words: LastWords, libraries: Libraries
    ) -> None:
        self._connection = connection
        self._inbox = Inbox(connection)
        self._outbox = Outbox(connection)
        self.process = process
        self._words = words
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[Message] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._statuses: dict[int, asyncio.Future[int]] = {}
        self._number = 0
        self.libraries = libraries
        self.symbols: frozenset[str] = frozenset()
        self._loop.add_reader(connection.fileno(), self._on_message)

    @staticmethod
    async def start(libraries: Libraries, program: Path) -> ForkServer:
        """Start a server, which loads the libraries.

        Args:
            libraries: to load.
            program: the Python that it runs in (:func:`~monocore_vmm_libkrun.launcher.interpreter`).

        Raises:
            MachineError: it cannot, with its reason.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)  # noqa: FBT003
        read, write = os.pipe()
        os.set_blocking(read, False)
        words = [str(libraries.krun), *([str(libraries.firmware)] if libraries.firmware else [])]
        argv = [os.fspath(program), "-I", "-m", "monocore_vmm_libkrun.server", str(theirs.fileno()), *words]
        said = LastWords(read)
        try:
            process = spawn(argv, stderr=write, inherit=(theirs.fileno(), read), tied=False)
        except BaseException:
            ours.close()
            said.close()
            raise
        finally:
            theirs.close()
            os.close(write)
        server = ForkServer(ours, process, said, libraries)
        try:
            async with asyncio.timeout(_PATIENCE):
                hello = await server._hello
        except BaseException as error:
            await server.close()
            if isinstance(error, TimeoutError):
                raise MachineError("libkrun was not loaded in time") from error
            raise
        if "error" in hello:
            await server.close()
            raise MachineError(f"libkrun cannot be loaded: {hello['error']}")
        server.symbols = frozenset(map(str, cast("list[object]", hello["symbols"])))
        return server

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._connection.fileno() >= 0 and not self.process.ended

    async def fork(
        self,
        directory: Path,
        calls: Sequence[Call],
        console: int,
        confinement: Confinement | None = None,
    ) -> Forked:
        """A process that has made every call but the last, and is making that.

        Args:
            directory: its working directory.
            calls: the last is ``krun_start_enter``.
            console: descriptor that becomes its standard output and error.
            confinement: that it enters before the first call.

        Raises:
            MachineError: a call said no, or the server is gone.
        """
        self._number += 1
        number = self._number
        wanted = [[call.name, *call.arguments] for call in calls]
        message: Message = {"id": number, "directory": os.fspath(directory), "calls": wanted}
        if confinement is not None:
            message["confinement"] = told(confinement)
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._answers[number] = answer
        try:
            self._say(message, console)
            async with asyncio.timeout(_PATIENCE):
                said = await answer
        except ValueError as error:
            self._answers.pop(number, None)
            raise MachineError(f"the machine's description is too long: {error}") from error
        except BaseException:
            self._answers.pop(number, None)
            answer.add_done_callback(self._end)  # whoever does not wait for the process does not want it
            raise
        if "error" in said:
            raise MachineError(f"libkrun: {said['error']}")
        pid = int(str(said["pid"]))
        try:
            process = Process(pid, start_time(pid) or 0, watch(pid), child=False)
        except OSError as error:
            self._end(answer)
            raise MachineError(f"libkrun: its process {pid} cannot be watched: {error.strerror}") from error
        self._say({"watched": pid})
        layers = frozenset(map(Layer, map(str, cast("list[object]", said["layers"]))))
        return Forked(process, self._status(pid), layers)

    async def close(self) -> None:
        """End the server, and with it what it started. A repeat does nothing."""
        self._hang_up()
        if not self.process.ended:
            self.process.signal(signal.SIGKILL)
        await self.process.wait()
        self._words.close()

    def _status(self, pid: int) -> asyncio.Future[int]:
        return self._statuses.setdefault(pid, self._loop.create_future())

    def _on_message(self) -> None:
        try:
            messages = self._inbox.read()
        except BlockingIOError:
            return
        except (OSError, ValueError):
            messages = None
        if messages is None:
            self._lost()
            return
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        if "exited" in message:
            status = self._statuses.pop(int(str(message["exited"])), None) or self._loop.create_future()
            if not status.done():
                status.set_result(int(str(message["status"])))
        elif "id" not in message:
            self._hello.set_result(message)
        else:
            self._answer(int(str(message["id"])), message)

    def _answer(self, number: int, message: Message) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None and not answer.done():
            if "pid" in message:
                self._status(int(str(message["pid"])))
            answer.set_result(message)
        elif "pid" in message:
            self._say({"end": message["pid"]})

    def _end(self, answer: asyncio.Future[Message]) -> None:
        """Have the process that came too late killed."""
        if answer.cancelled() or answer.exception() is not None or "pid" not in answer.result():
            return
        if self._connection.fileno() < 0:  # it ended with the server
            return
        self._statuses.pop(int(str(answer.result()["pid"])), None)
        self._say({"end": answer.result()["pid"]})

    def _say(self, message: Message, *descriptors: int) -> None:
        """Send a message now, or as soon as the server reads. One that is gone is told of by its end of the connection.

        Raises:
            ValueError: it is too long.
            MachineError: the server is gone.
        """
        if self._connection.fileno() < 0:
            raise self._gone()
        self._outbox.put(message, descriptors)
        self._flush()

    def _flush(self) -> None:
        try:
            done = self._outbox.flush()
        except OSError:
            self._lost()
            return
        if done:
            self._loop.remove_writer(self._connection.fileno())
        else:
            self._loop.add_writer(self._connection.fileno(), self._flush)

    def _lost(self) -> None:
        self._hang_up()
        self._fail(self._hello)
        for answer in self._answers.values():
            self._fail(answer)
        self._answers.clear()
        for status in self._statuses.values():
            if not status.done():
                status.set_result(-int(signal.SIGKILL))

    def _fail(self, waiting: asyncio.Future[Any]) -> None:
        if not waiting.done():
            waiting.set_exception(self._gone())
            waiting.exception()  # seen, should nobody wait

    def _gone(self) -> MachineError:
        return MachineError(
            f"the process that starts machines ended: {self._words.last_line() or 'no reason'}"
        )

    def _hang_up(self) -> None:
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())
            self._loop.remove_writer(self._connection.fileno())
            self._connection.close()
            self._inbox.close()
            self._outbox.close()
