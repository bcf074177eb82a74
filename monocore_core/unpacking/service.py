"""Hands out workers: as many as are needed at once, started when they are, and ended with the work that they were for."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

from monocore_core.concurrency import in_thread
from monocore_core.errors import MachineError, MonocoreError, Unsupported
from monocore_core.jail import Jailer, Run, allocate, may_become_others, release
from monocore_core.model.events import Listener, Warned, ignore
from monocore_core.model.security import Security
from monocore_core.unpacking.confine import jail_of, program
from monocore_core.unpacking.process import Line, Worker
from monocore_core.vmmkit.console import LastWords

#: Seconds until a worker must have loaded what it needs, on a host that is very busy.
_PATIENCE: Final = 30.0


@define(eq=False)
class Unpackers:
    """Where workers come from.

    Attributes:
        security: what is asked of their jails.
        cache: folder for the jail's launcher, where it has to be built.
        stage: a folder that nobody needs to see in a jail.
        emit: is told, once, why there is no worker where there could be one.
    """

    security: Security
    cache: Path
    stage: Path
    emit: Listener
    _failed: bool = field(default=False, init=False)
    _jailer: Jailer = field(init=False)

    def __attrs_post_init__(self) -> None:
        # nobody is told of a jail that lacks something: each machine's start says so
        self._jailer = Jailer(self.security, self.cache, ignore)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """For the pieces of one work. At its end all its workers have ended."""
        session = Session(self)
        try:
            yield session
        finally:
            await session.close()

    async def start(self, *, archives: bool = False) -> Worker | None:
        """A worker that is ready, for layers or for whole archives; None where our own process is to decompress.

        Raises:
            Unsupported: the configuration requires of its jail what cannot be had.
        """
        if sys.platform != "linux" or not self._jailer.on or self._failed:
            return None
        try:
            return await self._start(archives)
        except Unsupported:
            raise
        except MonocoreError as error:
            if missing := self.security.missing(frozenset()):
                raise Unsupported(
                    f"the configuration requires of a jail: {', '.join(sorted(missing))}; {error.brief}"
                ) from error
            self._failed = True
            self.emit(Warned(f"images are decompressed by monocore's own process: {error.brief}"))
            return None

    async def _start(self, archives: bool) -> Worker:
        what = await in_thread(program)
        identity = allocate() if may_become_others() and await in_thread(what.readable) else None
        with ExitStack() as stack:
            stack.callback(release, identity)
            line = Line.make()
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            words = LastWords(read)
            stack.callback(os.close, write)
            stack.callback(line.close_theirs)
            run = Run(
                argv=what.words(line.theirs, line.memory, archives=archives),
                stderr=write,
                inherit=(*line.theirs, line.memory),
                tied=False,
            )
            try:
                jailed = await self._jailer.start(run, jail_of(what, self.stage, identity))
            except BaseException:
                line.close_ours()
                words.close()
                raise
        worker = Worker(jailed, line, words)
        try:
            async with asyncio.timeout(_PATIENCE):
                await in_thread(worker.await_ready, stop=worker.kill)
        except BaseException as error:
            await worker.close()
            if isinstance(error, TimeoutError):
                raise MachineError(f"what decompresses did not start within {_PATIENCE:g} seconds") from error
            raise
        return worker


@define(eq=False)
class Session:
    """Workers that one work has, one after the other or at once."""

    _unpackers: Unpackers
    _idle: list[Worker] = field(factory=list[Worker], init=False)
    _begun: asyncio.Task[Worker | None] | None = field(default=None, init=False)

    def begin(self) -> None:
        """Start a worker meanwhile, for whoever needs the first one."""
        self._begun = asyncio.create_task(self._unpackers.start())

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Worker | None]:
        """A worker for one stream at a time; None: decompress in our own process. One under which the block fails is ended.

        Raises:
            Unsupported: as :meth:`Unpackers.start` says.
        """
        worker = await self._next()
        if worker is None:
            yield None
            return
        try:
            yield worker
        except BaseException:
            await worker.close()
            raise
        self._idle.append(worker)

    async def close(self) -> None:
        """End all of them."""
        if self._begun is not None:
            self._begun.cancel()
            await asyncio.wait([self._begun])
            if not self._begun.cancelled() and self._begun.exception() is None:
                self._keep(self._begun.result())
        while self._idle:
            await self._idle.pop().close()

    async def _next(self) -> Worker | None:
        if self._idle:
            return self._idle.pop()
        if self._begun is not None:
            begun, self._begun = self._begun, None
            try:
                return await asyncio.shield(begun)
            except asyncio.CancelledError:
                self._begun = begun  # the session ends it
                raise
        return await self._unpackers.start()

    def _keep(self, worker: Worker | None) -> None:
        if worker is not None:
            self._idle.append(worker)
