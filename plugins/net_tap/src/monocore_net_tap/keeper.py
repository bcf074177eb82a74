"""The process that keeps the namespace of one monocore home: ``python -m monocore_net_tap.keeper STATE OPTIONS READY-FD CONFINEMENT``.

It is started by the first sandbox that needs it, ends some time after the last has left, and is the only one that changes anything. A
small parent starts it again when it was killed, or when the uplink has failed; killing both loses nothing either: who has attached a sandbox, or
the next request, starts another, which finds the namespaces by their holder, and the members in the records.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from monocore_core.errors import MachineError, MonocoreError
from monocore_core.serde import structure
from monocore_core.vmmkit import sockets
from monocore_net_tap import syscalls
from monocore_net_tap.messages import SOCKET, failure, serves
from monocore_net_tap.options import TapOptions
from monocore_net_tap.records import Records
from monocore_net_tap.serving import AGAIN, MOST_CLIENTS, Keeper, say
from monocore_net_tap.setting import Setting, prepare
from monocore_net_tap.uplink.confine import Confinement

LOCK = "keeper.lock"
#: Starts within a minute after which the parent gives up.
_MOST_STARTS = 5
#: Seconds that another keeper may take to end.
_PATIENCE, _STEP = 15.0, 0.005


def main(words: list[str]) -> int:
    """Run the parent: it starts the keeper, again when that is needed."""
    state, options, ready = (
        Path(words[0]),
        structure(json.loads(words[1]), TapOptions, "the options"),
        int(words[2]),
    )
    confinement = structure(json.loads(words[3]), Confinement, "the confinement")
    os.umask(0o077)
    lock = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _alone(state, lock):
        os.write(ready, b"1")
        return 0
    starts: list[float] = []
    while True:
        starts = [one for one in starts if time.monotonic() - one < 60.0]
        if len(starts) >= _MOST_STARTS:
            say("the keeper ends again and again: given up")
            return 1
        starts.append(time.monotonic())
        child = os.fork()
        if child == 0:
            os._exit(_child(state, options, confinement, ready))
        if ready >= 0:
            os.close(ready)
            ready = -1
        code = _ended(child)
        if code not in (AGAIN, -signal.SIGKILL, -signal.SIGSEGV):
            return max(code, 0)
        say(f"the keeper ended ({code}) and is started again")


def _alone(state: Path, lock: int) -> bool:
    """Wait until the keeper that may be there has ended; False when it serves after all (its parent has started it again)."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if serves(state):
            return False
        time.sleep(_STEP)
    raise MachineError("net_tap: another keeper neither serves nor ends")


def _ended(child: int) -> int:
    """Wait for a child, telling it when we are to end; gives its status, or the negative number of its signal."""
    handler = signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(child, signal.SIGTERM))
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        signal.signal(signal.SIGTERM, handler)


def _child(state: Path, options: TapOptions, confinement: Confinement, ready: int) -> int:
    error: MonocoreError
    syscalls.die_with_parent(signal.SIGKILL)
    try:
        records = Records(state)
        # before there is a second thread: a user namespace is joined
        setting = prepare(state, records, options, confinement)
        return asyncio.run(_work(setting, state, records, options, ready))
    except MonocoreError as known:
        error = known
        say(error.brief)
    except Exception as failed:  # noqa: BLE001 - the error boundary: who started us is told, and the log tells more
        say("".join(traceback.format_exception(failed)))
        error = MachineError(f"net_tap: the keeper failed: {failed!r}")
    if ready >= 0:
        with suppress(OSError):  # said already, or nobody waits any more
            os.write(ready, json.dumps(failure(error)).encode())
    return 1


async def _work(setting: Setting, state: Path, records: Records, options: TapOptions, ready: int) -> int:
    listener = sockets.listen(state, SOCKET, socket.SOCK_SEQPACKET)
    listener.settimeout(0)
    listener.listen(MOST_CLIENTS)

    def say_ready() -> None:
        if ready >= 0:
            os.write(ready, b"1")

    try:
        return await Keeper(setting, records, options, state, listener).run(say_ready)
    finally:
        listener.close()
        records.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
