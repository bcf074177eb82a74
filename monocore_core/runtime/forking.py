"""Copies of a sandbox that runs: each goes on where it was, by itself, with an identity of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from attrs import evolve

from monocore_core.errors import InvalidInput, MonocoreError
from monocore_core.model.network import NetworkRequest
from monocore_core.model.record import SandboxOrder, SandboxRecord
from monocore_core.origin import Origin
from monocore_core.runtime.capturing import captured
from monocore_core.runtime.sandboxes import Sandboxes

#: Copies that are made at once, and that are started at the same time.
MAX_COPIES, STARTING = 100, 4
#: Writes a new sandbox down, or refuses.
Admit = Callable[[SandboxOrder], SandboxRecord]
#: What begins the labels that say what the daemon made a sandbox for, and the one of them that its copies keep.
_OURS, _GROUP = "monocore.", "monocore.group"


async def fork(sandboxes: Sandboxes, text: str, count: int, name: str, admit: Admit) -> list[SandboxRecord]:
    """Make ``count`` copies of a running sandbox. All of them run on the return, or none is there.

    The sandbox itself stands still for as long as its memory takes to be copied, once for all copies.

    Args:
        sandboxes: of the home.
        text: the sandbox's name, id, or the beginning of its id.
        count: of copies.
        name: of the copy; of several, each has a number behind it. "": their ids.
        admit: writes each down.

    Raises:
        InvalidInput: no such number of copies. NotFound: there is no such sandbox.
        Unsupported, Conflict, MachineError, GuestError …: as :func:`.capturing.captured`, and as starting says.
    """
    if not 1 <= count <= MAX_COPIES:
        raise InvalidInput(f"{count} copies are not possible", hint=f"give 1 to {MAX_COPIES}")
    life = sandboxes.life(text)
    made: list[SandboxRecord] = []
    with life.used():
        try:
            for number in range(count):
                order = copied(life.record.order, name and (name if count == 1 else f"{name}-{number + 1}"))
                made.append(admit(order))
                # should we die, the next daemon removes it
                sandboxes.book.save(evolve(made[-1], partial=True))
            async with captured(life) as moment:
                await _start_all(sandboxes, made, moment.origin)
            sandboxes.complete(made)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(_remove_all(sandboxes, made)))
            raise
    sandboxes.book.tell(life.record, "forked", {"copies": [record.id for record in made]})
    return [sandboxes.book.now(record) for record in made]


def copied(order: SandboxOrder, name: str) -> SandboxOrder:
    """What is asked of a copy. Pure.

    It has no name, hostname, address and published port of the original's: a port of the host is one sandbox's only, but for those
    that the host chooses. Of the labels that say to whom a sandbox belongs it keeps its group.
    """
    labels = {key: value for key, value in order.labels.items() if key == _GROUP or not key.startswith(_OURS)}
    network = order.sandbox.network
    request = evolve(order.sandbox, name=name, hostname="", network=network and _network(network))
    return evolve(order, sandbox=request, labels=labels)


def _network(asked: NetworkRequest) -> NetworkRequest:
    chosen = tuple(port for port in asked.publish if port.host == 0)
    return evolve(asked, hostname="", addresses=(), publish=chosen)


async def _start_all(sandboxes: Sandboxes, made: list[SandboxRecord], origin: Origin) -> None:
    """None goes on before all are there: what goes on takes processors from those that are still to come."""
    slots, missing, complete = asyncio.Semaphore(STARTING), len(made), asyncio.Event()

    async def ready() -> None:
        nonlocal missing
        slots.release()
        missing -= 1
        if not missing:
            complete.set()
        await complete.wait()

    async def start(record: SandboxRecord) -> None:
        await slots.acquire()  # until it is ready; after a failure nobody needs it any more
        await sandboxes.start(record.id, origin=evolve(origin, ready=ready))

    try:
        async with asyncio.TaskGroup() as group:
            for record in made:
                group.create_task(start(record))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _remove_all(sandboxes: Sandboxes, made: list[SandboxRecord]) -> None:
    for record in made:
        with suppress(MonocoreError):  # one that was to be removed at its end is gone already
            await sandboxes.remove(record.id, force=True)
