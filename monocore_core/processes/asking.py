"""A program of the host that is asked once: what it is sent, what it says, both bounded; nothing of it stays behind a failure.

    answer = await ask(("docker-credential-pass", "get"), sent=server, limit=1 << 20, seconds=30)
    answer.status, answer.output

:mod:`asyncio.subprocess`'s streams are not used: they stop reading a program that says too much, and then wait for the end of
what they no longer read, so that the wait for a killed program may never end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from monocore_core.errors import LimitExceeded


@frozen
class Answer:
    """How a program ended."""

    status: int
    """Exit status; minus the signal's number when a signal ended it."""
    output: bytes = field(repr=False)
    """Its standard output, which may be a secret."""


async def ask(
    argv: Sequence[str | Path],
    *,
    sent: bytes = b"",
    limit: int,
    seconds: float,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Answer:
    """Run a program in a process group of its own and wait until it has ended and its output is closed.

    On an error, and when cancelled, the whole group is killed and the program collected. Its standard error is not read.

    Args:
        argv: the program and its arguments.
        sent: for its standard input, which is closed behind it. A program need not read it.
        limit: bytes of output.
        seconds: for all of it.
        cwd: its folder; None: ours.
        environ: its environment; None: ours.

    Raises:
        OSError: it cannot be started.
        LimitExceeded: it says more than ``limit`` bytes.
        TimeoutError: it takes longer than ``seconds``.
    """
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            lambda: _Conversation(loop, limit),
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            cwd=cwd,
            env=environ,
        )
    )
    cancelled: asyncio.CancelledError | None = None
    try:  # a start that is cut off would end the program alone, and not its group
        transport, conversation = await asyncio.shield(starting)
    except asyncio.CancelledError as error:
        cancelled = error
        transport, conversation = await starting
    whole = False
    try:
        if cancelled is not None:
            raise cancelled
        if isinstance(stdin := transport.get_pipe_transport(0), asyncio.WriteTransport):
            stdin.write(sent)
            stdin.close()
        async with asyncio.timeout(seconds):
            output = await conversation.said
            await asyncio.shield(conversation.exited)
        whole = True
    finally:
        if not whole:
            with suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
        transport.close()
        await asyncio.shield(conversation.exited)
    status = transport.get_returncode()
    assert status is not None  # noqa: S101 - it has exited
    return Answer(status, output)


class _Conversation(asyncio.SubprocessProtocol):
    """Takes down what a program says.

    Attributes:
        said: its whole output, or LimitExceeded.
        exited: done when the program has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.said: asyncio.Future[bytes] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self._limit = limit
        self._output = bytearray()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        del fd
        if self.said.done():
            return
        self._output += data
        if len(self._output) > self._limit:
            self.said.set_exception(LimitExceeded(f"it says more than {self._limit} bytes"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1 and not self.said.done():
            self.said.set_result(bytes(self._output))

    def process_exited(self) -> None:
        self.exited.set_result(None)
