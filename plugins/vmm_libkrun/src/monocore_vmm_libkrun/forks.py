"""Our end of the fork server: started when the first machine is, ended with the backend."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from monocore_core.errors import MachineError
from monocore_core.processes.linux import PidHandle
from monocore_core.vmmkit.console import LastWords
from monocore_core.vmmkit.process import Process, spawn, start_time
from monocore_vmm_libkrun.calls import Call
from monocore_vmm_libkrun.library import Libraries
from monocore_vmm_libkrun.server import MAX_MESSAGE

#: Seconds until the server must have loaded the library, or made a process.
_PATIENCE = 30.0


class ForkServer:
    """A running server. Use :meth:`start`.

    Args:
        connection: to it.
        process: the server's.
        words: what it says on its standard error.
    """

    def __init__(self, connection: socket.socket, process: Process, words: LastWords) -> None:
        self._connection = connection
        self.process = process
        self._words = words
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[dict[str, object]] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[tuple[dict[str, object], list[int]]]] = {}
        self._statuses: dict[int, asyncio.Future[int]] = {}
        self._number = 0
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
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
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
        server = ForkServer(ours, process, said)
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
        self, directory: Path, calls: Sequence[Call], console: int
    ) -> tuple[Process, asyncio.Future[int]]:
        """A process that has made every call but the last, and is making that; and its exit status, when it ends.

        Args:
            directory: its working directory.
            calls: the last is ``krun_start_enter``.
            console: descriptor that becomes its standard output and error.

        Raises:
            MachineError: a call said no, or the server is gone.
        """
        self._number += 1
        number = self._number
        wanted = [[call.name, *call.arguments] for call in calls]
        message = json.dumps({"id": number, "directory": os.fspath(directory), "calls": wanted}).encode()
        if len(message) > MAX_MESSAGE:
            raise MachineError(f"the machine's description is longer than {MAX_MESSAGE} bytes")
        answer: asyncio.Future[tuple[dict[str, object], list[int]]] = self._loop.create_future()
        self._answers[number] = answer
        try:
            socket.send_fds(self._connection, [message], [console])
            async with asyncio.timeout(_PATIENCE):
                said, descriptors = await answer
        except OSError as error:
            raise self._gone() from error
        except BaseException:
            self._answers.pop(number, None)
            answer.add_done_callback(_end)  # whoever does not wait for the process does not want it
            raise
        if "error" in said:
            raise MachineError(f"libkrun: {said['error']}")
        pid = int(str(said["pid"]))
        return Process(pid, start_time(pid) or 0, PidHandle(descriptors[0]), child=False), self._status(pid)

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
            data, descriptors, _, _ = socket.recv_fds(self._connection, MAX_MESSAGE, 4)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._lost()
            return
        message = cast("dict[str, object]", json.loads(data))
        if "exited" in message:
            status = self._statuses.pop(int(str(message["exited"])), None) or self._loop.create_future()
            if not status.done():
                status.set_result(int(str(message["status"])))
        elif "id" not in message:
            self._hello.set_result(message)
        else:
            self._answer(int(str(message["id"])), message, descriptors)

    def _answer(self, number: int, message: dict[str, object], descriptors: list[int]) -> None:
        answer = self._answers.pop(number, None)
        if "pid" in message:
            self._status(int(str(message["pid"])))
        if answer is None or answer.done():
            _kill(descriptors)
            return
        answer.set_result((message, descriptors))

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
            self._connection.close()


def _end(answer: asyncio.Future[tuple[dict[str, object], list[int]]]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        _kill(answer.result()[1])


def _kill(pidfds: Sequence[int]) -> None:
    for pidfd in pidfds:
        handle = PidHandle(pidfd)
        with contextlib.suppress(ProcessLookupError):
            handle.signal(signal.SIGKILL)
        handle.close()
