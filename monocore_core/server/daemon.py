"""The daemon's life: it holds the home's lock, listens, says that it is ready, serves, and leaves; what runs goes on.

Who starts it may wait for it (:mod:`monocore_core.server.starter`), and systemd may give it its socket (:mod:`monocore_core.server.listening`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import math
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from attrs import frozen

from monocore_core.config.values import Settings
from monocore_core.errors import Conflict, MonocoreError
from monocore_core.logs import LogLimits
from monocore_core.metrics import Sampler
from monocore_core.model.daemon import DaemonSettings
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.server.app import Daemon, make_app
from monocore_core.server.gate import answering
from monocore_core.server.listening import listening
from monocore_core.server.memory import thrifty
from monocore_core.server.starter import Readiness
from monocore_core.server.tcp import Listeners, listening_on_tcp
from monocore_core.server.tracing import tracing
from monocore_core.store.atomic import make_directory, storage_errors

SOCKET_NAME, LOCK_NAME = "monocore.sock", "daemon.lock"
#: Seconds between two sweeps of the logs, and two looks whether the daemon is idle.
SWEEP, LOOK = 600.0, 1.0
#: Of one sandbox.
MAX_SAMPLES = 3600
log = logging.getLogger("monocore.server")


@frozen
class ServeOptions:
    """How one daemon is served.

    Attributes:
        idle_exit: seconds without a request and without anything that runs after which it ends; 0: never.
        replace: take the place of a daemon that has the home, which is asked to end; its sandboxes run on.
    """

    idle_exit: float = 0.0
    replace: bool = False


def serve(settings: Settings, options: ServeOptions, ready: Readiness) -> int:
    """Serve a home until told to end; gives an exit status.

    Args:
        settings: of the home.
        options: of this daemon.
        ready: is told when it serves, and when it ends.

    Raises:
        Conflict: another daemon has the home.
        ConfigError, StorageError …: it cannot be opened.
    """
    thrifty()
    return asyncio.run(_serve(settings, options, ready))


async def _serve(settings: Settings, options: ServeOptions, ready: Readiness) -> int:
    home = settings.home
    with storage_errors(f"make the store in {home}"):
        make_directory(home)
    async with AsyncExitStack() as stack:
        stack.enter_context(await _lock(home, options))
        listener = stack.enter_context(listening(home / (settings.daemon.socket or SOCKET_NAME)))
        listeners = stack.enter_context(listening_on_tcp(settings.daemon, home))
        sandboxes = await stack.enter_async_context(
            Sandboxes.open(settings, log_limits=_log_limits(settings))
        )
        await stack.enter_async_context(tracing(settings.daemon.traces, sandboxes.book.happenings))
        services = await stack.enter_async_context(Orchestrator.open(sandboxes))
        how = settings.daemon
        sampler = Sampler(interval=how.metrics_interval, capacity=samples_kept(how))
        daemon = Daemon.of(services, sampler)
        await stack.enter_async_context(_tasks(daemon, options))
        await stack.enter_async_context(serving(daemon, listener, listeners, how.stop_grace))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _end, daemon)
        ready.ready()
        log.info("serving %s (process %d)", home, os.getpid())
        wanted = await daemon.ending
        ready.ending()
        if wanted:
            await asyncio.gather(
                *(sandboxes.stop(record.id) for record in sandboxes.all() if record.state.live)
            )
        log.info("ending; %d sandboxes run on", sum(record.state.live for record in sandboxes.all()))
    return 0


def _of_ours(record: logging.LogRecord) -> bool:
    """Whether a line of the HTTP server's is worth one: not what clients send that is no HTTP, which they are told."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _identified(fingerprint: str) -> str:
    return f"; SHA-256 fingerprint of its certificate: {fingerprint}" if fingerprint else ""


def _end(daemon: Daemon) -> None:
    if not daemon.ending.done():
        daemon.ending.set_result(False)


@asynccontextmanager
async def serving(
    daemon: Daemon, listener: socket.socket | None, listeners: Listeners, grace: float
) -> AsyncGenerator[None]:
    """Answer on a Unix socket and on TCP; at the end, requests under way have ``grace`` seconds."""
    logging.getLogger("aiohttp.server").addFilter(_of_ours)
    runner = web.AppRunner(make_app(daemon), access_log=None, shutdown_timeout=grace, keepalive_timeout=75)
    await runner.setup()
    stack = AsyncExitStack()
    try:
        if listener is not None:
            await web.SockSite(runner, listener, backlog=512).start()
        daemon.server = runner.server
        assert runner.server is not None  # noqa: S101 - for the type checkers: it was set up
        for sock in listeners.sockets:
            await stack.enter_async_context(answering(runner.server, sock, listeners.context, daemon.gate))
        for url in listeners.urls:
            log.info("listening on %s%s", url, _identified(listeners.fingerprint))
        yield
    finally:
        daemon.sandboxes.book.happenings.close()  # those who follow come to their end
        await stack.aclose()
        await runner.cleanup()
        daemon.guard.audit.close()


@asynccontextmanager
async def _tasks(daemon: Daemon, options: ServeOptions) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(daemon.figures.run()), asyncio.create_task(_sweep(daemon))]
    if options.idle_exit > 0:
        tasks.append(asyncio.create_task(_watch_idleness(daemon, options.idle_exit)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sweep(daemon: Daemon) -> None:
    """Now and then remove output that is too old or too much."""
    while True:
        with contextlib.suppress(MonocoreError):
            await asyncio.to_thread(daemon.sandboxes.logs.sweep, time.time_ns())
        await asyncio.sleep(SWEEP)


async def _watch_idleness(daemon: Daemon, seconds: float) -> None:
    while True:
        await asyncio.sleep(min(LOOK, seconds))
        busy = daemon.requests or any(record.state.live for record in daemon.sandboxes.all())
        if busy:
            daemon.touched = time.monotonic()
        elif time.monotonic() - daemon.touched >= seconds:
            _end(daemon)


def samples_kept(wanted: DaemonSettings) -> int:
    """How many samples of a sandbox its history takes: two at least, which rates are made of, and MAX_SAMPLES at most."""
    kept = min(wanted.metrics_history / wanted.metrics_interval, MAX_SAMPLES)
    return max(2, math.ceil(kept))


def _log_limits(settings: Settings) -> LogLimits:
    wanted = settings.daemon
    usual = LogLimits()
    total = wanted.log_total_size or usual.total_bytes
    return LogLimits(
        segment_bytes=min(usual.segment_bytes, wanted.log_max_size),
        sandbox_bytes=max(wanted.log_max_size, 1 << 13),
        total_bytes=max(total, 1 << 13),
        age=max(wanted.log_retention, 1.0) if wanted.log_retention else 100 * 365 * 86400.0,
    )


async def _lock(home: Path, options: ServeOptions) -> contextlib.AbstractContextManager[None]:
    """The home's lock, from the daemon that has it when that is to be replaced."""
    deadline = time.monotonic() + (30.0 if options.replace else 0.0)
    asked = False
    while True:
        held = _try_lock(home)
        if held is not None:
            return _holding(held)
        if options.replace and not asked:
            asked = True
            await asyncio.to_thread(_ask_to_end, home)
        if time.monotonic() >= deadline:
            raise Conflict(
                f"another daemon keeps {home} ({_holder(home)})",
                hint="monocore serve --replace takes its place",
            )
        await asyncio.sleep(0.05)


def _try_lock(home: Path) -> int | None:
    with storage_errors(f"lock {home}"):
        fd = os.open(home / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
    return fd


@contextmanager
def _holding(fd: int) -> Generator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _holder(home: Path) -> str:
    try:
        return (home / LOCK_NAME).read_text().strip()[:100] or "unknown"
    except OSError:
        return "unknown"


def _ask_to_end(home: Path) -> None:
    """Send the holder of the lock a SIGTERM, by which its sandboxes run on."""
    word, _, number = _holder(home).partition(" ")
    if word == "process" and number.isdecimal():
        with contextlib.suppress(OSError):
            os.kill(int(number), signal.SIGTERM)
