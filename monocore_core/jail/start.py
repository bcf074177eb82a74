"""Start a program in a jail."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import frozen

from monocore_core.errors import MachineError
from monocore_core.jail.description import Jail, words
from monocore_core.jail.seccomp import compile_filter
from monocore_core.model.security import Layer
from monocore_core.processes import start_time, watch
from monocore_core.vmmkit.process import Process

#: Seconds for the launcher to do its milliseconds of work, on a host that is very busy.
_PATIENCE = 30.0
_LATE = f"the jail was not made within {_PATIENCE:g} seconds"
#: Bytes of its report.
_MAX_REPORT = 4096
_PID = re.compile(r"^pid ([0-9]{1,10})$", re.MULTILINE)
_LANDLOCK = re.compile(r"^landlock ([0-9]{1,4})$", re.MULTILINE)
_NO_SECCOMP = re.compile(r"^seccomp 0$", re.MULTILINE)
_ERROR = re.compile(r"^error (.*)$", re.MULTILINE)


class JailError(MachineError):
    """The jail could not be made; the program has not run."""


@frozen
class Report:
    """What the launcher said.

    Attributes:
        pid: of the program, as the host sees it; None when it got no further.
        landlock: version of the kernel's, 0 when it has none.
        problem: what went wrong, or "".
        filtered: False: the kernel takes no list of calls.
    """

    pid: int | None
    landlock: int
    problem: str
    filtered: bool = True


@frozen
class Jailed:
    """A program in a jail.

    Attributes:
        process: of the program, a child of ours.
        layers: that confine it.
    """

    process: Process
    layers: frozenset[Layer]

    async def end(self) -> None:
        """Kill it, and wait for that."""
        self.process.signal(signal.SIGKILL)
        await self.process.wait()


def parse_report(text: str) -> Report:
    """From the launcher's lines. Pure."""
    pid, landlock, problem = _PID.search(text), _LANDLOCK.search(text), _ERROR.search(text)
    return Report(
        int(pid[1]) if pid else None,
        int(landlock[1]) if landlock else 0,
        problem[1] if problem else "",
        filtered=_NO_SECCOMP.search(text) is None,
    )


async def start(
    launcher: Path,
    jail: Jail,
    argv: Sequence[str],
    *,
    stderr: int,
    inherit: Sequence[int],
    tied: bool,
    prefix: Sequence[str] = (),
) -> Jailed:
    """Start a program, by path as the jail has it, and wait until it runs, which takes milliseconds. Must be called in a thread that lasts, when tied.

    Args:
        launcher: see :mod:`monocore_core.jail.build`.
        jail: to run it in.
        argv: program and arguments.
        stderr: descriptor for its standard output and error.
        inherit: descriptors that keep their numbers in the program; it has no others.
        tied: kill it when our thread that called this ends.
        prefix: a program, and arguments, that becomes the launcher.

    Raises:
        JailError: the jail could not be made, with the launcher's words. Nothing of it remains.
    """
    with ExitStack() as stack:
        pid, read = _launch(
            launcher, jail, argv, stack, stderr=stderr, inherit=inherit, prefix=prefix, tied=tied
        )
        first = os.pidfd_open(pid)
        stack.callback(os.close, first)
        reading = asyncio.ensure_future(_report(read))
        try:
            report = await asyncio.shield(reading)
        except BaseException:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(first, signal.SIGKILL)
            await asyncio.wait([reading])
            _end(pid, None if reading.cancelled() or reading.exception() else reading.result().pid)
            raise
        running = _begun(report, pid)
    process = Process(running, start_time(running) or 0, watch(running), child=True)
    return Jailed(process, _layers(jail, report))


def start_now(
    launcher: Path, jail: Jail, argv: Sequence[str], *, stderr: int, inherit: Sequence[int]
) -> tuple[int, frozenset[Layer]]:
    """As :func:`start`, for a program without an event loop; gives the number of the process, a child of ours, and its layers.

    Raises:
        JailError: the jail could not be made. Nothing of it remains.
    """
    with ExitStack() as stack:
        pid, read = _launch(
            launcher, jail, argv, stack, stderr=stderr, inherit=inherit, prefix=(), tied=False
        )
        deadline = time.monotonic() + _PATIENCE
        said = b""
        while len(said) < _MAX_REPORT:
            readable, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                _end(pid, parse_report(said.decode(errors="replace")).pid)
                raise JailError(_LATE)
            piece = os.read(read, _MAX_REPORT)
            if not piece:
                break
            said += piece
    report = parse_report(said.decode(errors="replace"))
    return _begun(report, pid), _layers(jail, report)


def _launch(
    launcher: Path,
    jail: Jail,
    argv: Sequence[str],
    stack: ExitStack,
    *,
    stderr: int,
    inherit: Sequence[int],
    prefix: Sequence[str],
    tied: bool,
) -> tuple[int, int]:
    """The launcher's process, and where its report comes from, which ``stack`` closes."""
    program = compile_filter(jail.calls, os.uname().machine) if jail.calls is not None else None
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    stack.callback(os.close, read)
    with ExitStack() as ours:
        ours.callback(os.close, write)
        filtered = _filter_file(program, ours) if program is not None else None
        told = words(
            jail,
            report=write,
            filtered=filtered,
            keep=tuple(inherit),
            parent=os.getpid() if tied else None,
        )
        passed = [write, *inherit, *_also(filtered, jail)]
        return _spawn([*prefix, os.fspath(launcher), *told, "--", *argv], stderr, passed), read


def _begun(report: Report, launcher: int) -> int:
    """The program's process, when it runs."""
    if report.problem or report.pid is None:
        _end(launcher, report.pid)
        raise JailError(f"the jail could not be made: {report.problem or 'its launcher ended'}")
    if report.pid != launcher:
        os.waitpid(launcher, 0)  # it closed the report by ending
    return report.pid


def _layers(jail: Jail, report: Report) -> frozenset[Layer]:
    known = jail.calls is not None and compile_filter(jail.calls, os.uname().machine) is not None
    return jail.layers(landlock=report.landlock > 0, seccomp=known and report.filtered)


def _end(launcher: int, pid: int | None) -> None:
    """End both and collect them; the second is a child of ours as well."""
    for child in {launcher, pid} - {None}:
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def _spawn(argv: list[str], stderr: int, passed: Sequence[int]) -> int:
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stderr, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]
    actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in passed]  # clears close-on-exec
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            {},
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP),
        )
    except OSError as error:
        raise JailError(f"{argv[0]}: could not be started ({error.strerror})") from error


def _filter_file(program: bytes, stack: ExitStack) -> int:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    stack.callback(os.close, descriptor)
    os.write(descriptor, program)
    return descriptor


def _also(filtered: int | None, jail: Jail) -> list[int]:
    """Descriptors that the launcher has besides."""
    lock = [jail.identity.lock] if jail.identity is not None else []
    return [*lock, *([filtered] if filtered is not None else [])]


async def _report(pipe: int) -> Report:
    """Everything that is said until the launcher has ended and the program runs.

    Raises:
        JailError: nothing happens.
    """
    loop = asyncio.get_running_loop()
    said = b""
    try:
        async with asyncio.timeout(_PATIENCE):
            while len(said) < _MAX_REPORT:
                readable = loop.create_future()
                loop.add_reader(pipe, _mark, readable)
                try:
                    await readable
                finally:
                    loop.remove_reader(pipe)
                piece = os.read(pipe, _MAX_REPORT)
                if not piece:
                    break
                said += piece
    except TimeoutError as error:
        raise JailError(_LATE) from error
    return parse_report(said.decode(errors="replace"))


def _mark(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
