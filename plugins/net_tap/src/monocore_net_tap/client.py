"""Talking to the keeper, and starting it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from monocore_core.concurrency import in_thread
from monocore_core.errors import DeadlineExceeded, MachineError, StorageError
from monocore_core.serde import unstructure
from monocore_core.vmmkit import sockets
from monocore_net_tap.messages import MAX_MESSAGE, SOCKET, Message, decode, encode, result, serves
from monocore_net_tap.options import TapOptions
from monocore_net_tap.uplink.confine import Confinement

LOG = "keeper.log"
_START_LOCK = "start.lock"
#: Seconds that a keeper may take to be ready, and to answer.
_READY_WITHIN = 30.0
_ANSWER_WITHIN = 30.0
_PAUSE = 0.02
_KEPT_LOG = 256 * 1024


class Absent(MachineError):
    """No keeper runs."""


class Client:
    """A keeper's client.

    Args:
        state: folder of the backend.
        options: with which a keeper is started.
        confinement: of what it starts.
    """

    def __init__(self, state: Path, options: TapOptions, confinement: Confinement) -> None:
        self._state = state
        self._options = options
        self._confinement = confinement

    async def ask(self, request: Mapping[str, object], *, start: bool = False) -> tuple[Message, int | None]:
        """Send a request; gives the answer and the descriptor that came with it.

        Args:
            request: a message.
            start: start a keeper where none runs.

        Raises:
            Absent: none runs.
            MonocoreError: as the keeper says.
        """
        data = encode(request)
        for last in (False, False, True):
            try:
                return await self._exchange(data)
            except Absent:
                if last or not start:
                    raise
            await self.start()
        raise AssertionError("unreachable")

    async def start(self) -> None:
        """Start a keeper where none runs.

        Raises:
            MonocoreError: it cannot be started.
        """
        await in_thread(self._start)

    async def _exchange(self, data: bytes) -> tuple[Message, int | None]:
        with await self._connect() as connection:
            loop = asyncio.get_running_loop()
            try:
                await loop.sock_sendall(connection, data)
                async with asyncio.timeout(_ANSWER_WITHIN):
                    await _readable(connection)
                answer, descriptors, _, _ = socket.recv_fds(
                    connection, MAX_MESSAGE + 1, 1, socket.MSG_CMSG_CLOEXEC
                )
            except TimeoutError as error:
                raise DeadlineExceeded("net_tap: the keeper does not answer") from error
            except OSError as error:
                raise Absent(f"net_tap: the keeper is gone ({error.strerror})") from error
        descriptor = descriptors[0] if descriptors else None
        try:
            return _told(answer), descriptor
        except BaseException:
            if descriptor is not None:
                os.close(descriptor)
            raise

    async def _connect(self) -> socket.socket:
        deadline = time.monotonic() + _ANSWER_WITHIN
        while True:
            try:
                return sockets.connect(self._state, SOCKET, socket.SOCK_SEQPACKET)
            except sockets.QueueFull as error:
                if time.monotonic() > deadline:
                    raise DeadlineExceeded("net_tap: the keeper does not answer") from error
            except MachineError as error:
                raise Absent("net_tap: no keeper runs") from error
            await asyncio.sleep(_PAUSE)

    def _start(self) -> None:
        """Start a keeper, unless another process has just done so."""
        try:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._state / _START_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"net_tap: {self._state}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not serves(self._state):
                self._spawn()
        finally:
            os.close(lock)

    def _spawn(self) -> None:
        log = self._state / LOG
        keep = os.O_TRUNC if log.exists() and log.stat().st_size > _KEPT_LOG else 0
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | keep, 0o600)
        ready, told = os.pipe()
        words = [
            sys.executable, "-P", "-m", "monocore_net_tap.keeper",
            str(self._state), json.dumps(unstructure(self._options)), str(told),
            json.dumps(unstructure(self._confinement)),
        ]  # fmt: skip
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(told,),
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            os.close(ready)
            raise MachineError(f"net_tap: the keeper could not be started ({error.strerror})") from error
        finally:
            os.close(told)
            os.close(output)
        with os.fdopen(ready, "rb", buffering=0) as pipe:
            answer = _read(pipe.fileno())
        if answer == b"1":
            process.returncode = 0  # it goes on without us: not to be waited for
            return
        process.kill()
        process.wait()
        if answer.startswith(b"{"):
            result(decode(answer))
        code = process.returncode
        how = "was not ready in time" if code == -signal.SIGKILL else f"ended with status {code}"
        raise MachineError(f"net_tap: the keeper {how}: {_last_line(log)}", hint=f"{log} tells more")


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _told(answer: bytes) -> Message:
    if not answer:
        raise Absent("net_tap: the keeper is gone")
    return result(decode(answer))


def _read(descriptor: int) -> bytes:
    """What the keeper says when it is ready, or why it is not."""
    import select  # noqa: PLC0415 - for this alone

    readable, _, _ = select.select([descriptor], [], [], _READY_WITHIN)
    return os.read(descriptor, 65536) if readable else b""


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    waiter = asyncio.Event()
    loop.add_reader(connection, waiter.set)
    try:
        await waiter.wait()
    finally:
        loop.remove_reader(connection)
