"""How a run begins: with a machine that is launched, or with one that is found to run already.

A record beside the world: does its machine still run, and which of its processes is its command?
"""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from attrs import evolve, frozen

from monocore_core.concurrency import in_thread
from monocore_core.engine import Engine
from monocore_core.errors import CommandNotExecutable, CommandNotFound, GuestError, MonocoreError
from monocore_core.guest.process import GuestProcess
from monocore_core.interfaces.vmm import Confined
from monocore_core.logs import LogStore, LogWriter
from monocore_core.model.record import EndReason, Placement, SandboxEnd, SandboxRecord, SandboxState
from monocore_core.origin import Origin
from monocore_core.plan.choose import Plan
from monocore_core.runtime.hostlimits import HostGroups
from monocore_core.runtime.output import Output
from monocore_core.sandbox import Sandbox

#: Exit statuses of a command that monocore could not run, and of one whose machine was killed.
NEVER_RAN, KILLED = 125, 128 + signal.SIGKILL

#: Called with a sandbox before its command starts: for files that must be there, and variables that are written down nowhere.
Preparation = Callable[[Sandbox], Awaitable[tuple[str, ...]]]


async def nothing_to_prepare(sandbox: Sandbox) -> tuple[str, ...]:
    """No further variables."""
    del sandbox
    return ()


@frozen(eq=False)
class Run:
    """A machine that runs, its command and that one's output (None: it has none, or has ended), its log, and where it is limited."""

    engine: Engine
    sandbox: Sandbox
    process: GuestProcess | None
    output: Output | None
    log: LogWriter
    groups: HostGroups


@frozen(eq=False)
class Beginning:
    """How a run is to begin.

    Attributes:
        prepare: called when the machine is set up, before the command.
        origin: a machine that it goes on as, whose command is its command; then nothing is prepared.
    """

    prepare: Preparation = nothing_to_prepare
    origin: Origin | None = None


async def launch(
    engine: Engine, record: SandboxRecord, logs: LogStore, groups: HostGroups, beginning: Beginning
) -> tuple[Run, SandboxRecord]:
    """Start the machine and the command; gives what is to be written down. Failure and cancellation leave nothing but the folder.

    Raises:
        GuestError: the command of the machine that it was to go on as has ended.
        NotFound, NothingFits, MachineError, CommandNotFound …: as starting a sandbox and a command says.
    """
    order = record.order
    # with nothing to do before the command, it need not wait for word of the set-up
    prepare, origin = beginning.prepare, beginning.origin
    early = None if order.limits or prepare is not nothing_to_prepare else order.command
    request = evolve(order.sandbox, name=record.name)
    if origin is None:
        sandbox = await engine.launch(record.id, request, command=early, label=record.label)
    else:
        record = evolve(record, known_as=origin.label)
        sandbox = await engine.resume(record.id, request, origin)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(engine.discard, record.id, sandbox.plan, folder=False)
        undo.push_async_callback(sandbox.guest.aclose)
        log = logs.open(record.id)
        undo.callback(log.close)
        if order.limits:
            undo.callback(groups.release, record.id)
            lacks = await in_thread(lambda: groups.hold(record.id, sandbox.machine.pid, order.limits))
            for lack in lacks:
                log.note(record.label, lack, time_ns=time.time_ns())
        process = sandbox.first
        if origin is not None:
            process = await _command_of(sandbox, record)
            if process is None and order.command is not None:
                raise GuestError(f"the command of sandbox {record.name} had ended when it was captured")
        variables = await prepare(sandbox) if origin is None else ()
        if process is None and (command := order.command) is not None:
            process = await sandbox.exec(evolve(command, env=(*command.env, *variables)), label=record.label)
        output = Output(process, log, record.label) if process is not None else None
        undo.pop_all()
    return Run(engine, sandbox, process, output, log, groups), _running(record, sandbox)


def failed(record: SandboxRecord, error: BaseException) -> SandboxRecord:
    """The record of a sandbox that could not be started. Pure but for the time."""
    code = NEVER_RAN
    if isinstance(error, CommandNotExecutable):
        code = 126
    elif isinstance(error, CommandNotFound):
        code = 127
    brief = error.brief if isinstance(error, MonocoreError) else type(error).__name__
    return over(record, _ended(code, EndReason.START_FAILED, brief))


def over(record: SandboxRecord, end: SandboxEnd) -> SandboxRecord:
    """The record of a sandbox of which nothing runs any more."""
    return evolve(record, state=SandboxState.EXITED, end=end, pid=0, ports=())


async def find(engine: Engine, record: SandboxRecord, logs: LogStore, groups: HostGroups) -> Run | SandboxEnd:
    """The run that a record says is under way, or how it ended, as far as anybody can know."""
    plan = plan_of(record)
    if record.state is SandboxState.STARTING or plan is None or record.image is None:
        return _ended(NEVER_RAN, EndReason.START_FAILED, "the daemon ended while it was being started")
    try:
        sandbox = await engine.adopt(record.id, record.order.sandbox, plan, record.image)
    except MonocoreError as error:
        return _ended(KILLED, EndReason.LOST, f"it could not be found again: {error.brief}")
    if sandbox is None:
        return _ended(KILLED, EndReason.LOST, "its machine ended while no daemon ran")
    process = await _command_of(sandbox, record)
    if process is None and record.order.command is not None and record.end is None:
        await sandbox.guest.aclose()
        return _ended(KILLED, EndReason.LOST, "its command is gone")
    try:
        log = logs.open(record.id)
    except MonocoreError as error:
        await sandbox.guest.aclose()
        return _ended(KILLED, EndReason.LOST, f"its log cannot be continued: {error.brief}")
    output = Output(process, log, record.label) if process is not None and record.end is None else None
    return Run(engine, sandbox, process, output, log, groups)


def plan_of(record: SandboxRecord) -> Plan | None:
    """The backends that a sandbox's run uses, when that is known."""
    placed = record.placement
    if placed is None or record.state is SandboxState.STARTING:
        return None
    return plan_with(placed)


def plan_with(placed: Placement) -> Plan:
    """The plan of what was placed."""
    return Plan(placed.image_source, placed.layer_merger, placed.network, placed.vmm, ())


async def _command_of(sandbox: Sandbox, record: SandboxRecord) -> GuestProcess | None:
    """Its command among what still runs in the guest. Whoever asked for the others is gone, and so are they."""
    command: GuestProcess | None = None
    for process in sandbox.guest.adopted.values():
        if process.kept and process.label == record.guest_label:
            command = process
            continue
        await process.signal(signal.SIGKILL, group=True)
        await process.release()
    return command


def _running(record: SandboxRecord, sandbox: Sandbox) -> SandboxRecord:
    plan, image = sandbox.plan, sandbox.image
    return evolve(
        record,
        state=SandboxState.RUNNING,
        started=time.time(),
        image=evolve(image, config=evolve(image.config, extra={})),
        placement=Placement(plan.image_source, plan.layer_merger, plan.network, plan.vmm),
        pid=sandbox.machine.pid,
        layers=tuple(sorted(sandbox.machine.layers)) if isinstance(sandbox.machine, Confined) else (),
        ports=tuple(map(str, sandbox.connection.published)),
        stages=stages_of(sandbox),
        began=sandbox.began.how if sandbox.began is not None else "",
        began_reason=sandbox.began.reason if sandbox.began is not None else "",
    )


def stages_of(sandbox: Sandbox) -> tuple[tuple[str, float], ...]:
    """The stages of its start, as a record has them."""
    return tuple((stage.name, round(stage.seconds, 6)) for stage in sandbox.stages)


def _ended(code: int, reason: EndReason, detail: str) -> SandboxEnd:
    return SandboxEnd(code, reason, detail, time.time())
