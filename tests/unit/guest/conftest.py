"""The agent on the host: built with sanitizers, told to leave the machine alone, spoken to over a socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monocore_core.errors import MachineError
from monocore_core.guest.build import FLAGS, SOURCES
from monocore_core.guest.client import Guest
from monocore_core.model.guest import GuestSetup, RootDisk

SETUP = GuestSetup(
    root=RootDisk("root", "erofs"), hostname="test", entropy=b"e" * 64, time_ns=1_700_000_000_000_000_000
)


class SocketChannel:
    """A GuestChannel over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, limit: int) -> bytes:
        try:
            return await self._reader.read(limit)
        except ConnectionError:
            return b""

    async def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        try:
            self._writer.writelines(chunks)
            await self._writer.drain()
        except ConnectionError as error:
            raise MachineError("the machine is gone") from error

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


async def channel_of(end: socket.socket) -> SocketChannel:
    end.settimeout(0)
    return SocketChannel(*await asyncio.open_connection(sock=end, limit=1 << 20))


class HostAgent:
    """One agent process that listens on a socket."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self.path = path

    async def connect(self) -> SocketChannel:
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(0)
        await asyncio.get_running_loop().sock_connect(end, str(self.path))
        return await channel_of(end)

    async def guest(self) -> Guest:
        return await Guest.open(await self.connect(), timeout=20)

    def raw(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(20)
        end.connect(str(self.path))
        return end


@pytest.fixture(scope="session")
def agent_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("needs gcc (apt-get install gcc libc6-dev)")
    program = tmp_path_factory.mktemp("agent") / "agent"
    flags = [f for f in FLAGS if f not in {"-s", "-g0", "-O2"} and "FORTIFY" not in f]
    flags += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = sorted(os.fspath(p) for p in SOURCES.glob("*.c"))
    subprocess.run([gcc, *flags, "-o", os.fspath(program), *sources], check=True, timeout=300)
    return program


@contextmanager
def _running(program: Path, folder: Path) -> Generator[HostAgent]:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        process = subprocess.Popen(
            [os.fspath(program), "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            env={"ASAN_OPTIONS": "detect_leaks=0", "PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
    try:
        yield HostAgent(process, path)
    finally:
        ended = process.poll()
        with suppress(ProcessLookupError):  # its helpers as well, which hold its standard error
            os.killpg(process.pid, signal.SIGKILL)
        words = process.communicate(timeout=20)[1].decode(errors="replace")
    assert "Sanitizer" not in words, words
    assert "runtime error" not in words, words
    assert ended in {None, 0}, f"the agent ended with {ended}: {words}"


@pytest.fixture
def agent(agent_program: Path, tmp_path: Path) -> Generator[HostAgent]:
    with _running(agent_program, tmp_path) as running:
        yield running


@pytest.fixture
async def guest(agent: HostAgent) -> AsyncGenerator[Guest]:
    guest = await agent.guest()
    try:
        await guest.setup(SETUP)
        yield guest
    finally:
        await guest.aclose()
