"""The fork server's parts that need no library: messages, ties; and what it does with a process that nobody waits for."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monocore_vmm_libkrun.calls import Call
from monocore_vmm_libkrun.forks import ForkServer
from monocore_vmm_libkrun.library import find
from monocore_vmm_libkrun.messages import MAX_MESSAGE, Inbox, Message, Outbox
from monocore_vmm_libkrun.options import KrunOptions

from monocore_core.concurrency import in_thread
from monocore_core.processes import start_time

#: A process that ties itself to its parent by a thread, says so, and would never end.
TIED = """
import os, time
from monocore_vmm_libkrun.ties import tie
lifeline, kept = os.pipe()
child = os.fork()
if child:
    os.write(1, b"%d\\n" % child)
    time.sleep(600)
os.close(kept)
os.write(1, b"%s\\n" % str(tie(os.getppid(), lifeline, kernel=KERNEL)).encode())
time.sleep(600)
"""


@given(st.lists(st.dictionaries(st.text(), st.text(max_size=3000) | st.integers(), max_size=5), max_size=8))
def test_messages_come_whole_and_in_order(messages: list[Message]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        ours.settimeout(0)
        outbox, inbox = Outbox(ours), Inbox(theirs)
        for message in messages:
            outbox.put(message)
        come: list[Message] = []
        while not outbox.flush():
            come += inbox.read() or []
        ours.shutdown(socket.SHUT_WR)
        while (more := inbox.read()) is not None:
            come += more
        assert come == messages


def test_descriptors_come_in_the_order_of_their_messages(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        outbox, inbox = Outbox(ours), Inbox(theirs)
        for number in range(3):
            fd = os.open(tmp_path / str(number), os.O_WRONLY | os.O_CREAT)
            outbox.put({"id": number}, [fd])
            os.close(fd)
            outbox.put({"watched": number})
        assert outbox.flush()
        seen: list[Message] = []
        while len(seen) < 6:
            seen += inbox.read() or []
        assert [message for message in seen if "id" in message] == [{"id": number} for number in range(3)]
        for number in range(3):
            fd = inbox.take()
            assert os.fstat(fd).st_ino == (tmp_path / str(number)).stat().st_ino
            assert not os.get_inheritable(fd)
            os.close(fd)
        with pytest.raises(ValueError, match="no descriptor"):
            inbox.take()


def test_what_is_too_long_is_refused_at_both_ends() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        with pytest.raises(ValueError, match="more than"):
            Outbox(ours).put({"text": "x" * MAX_MESSAGE})
        theirs.settimeout(0)
        ours.settimeout(0)
        inbox = Inbox(theirs)

        def pour() -> None:
            for _ in range(100):
                ours.send(b"x" * 10_000)
                inbox.read()

        with pytest.raises(ValueError, match="more than"):
            pour()


@pytest.mark.parametrize(
    "kernel",
    [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux does it"))],
)
def test_a_process_ends_with_its_parent_however_that_ends(*, kernel: bool) -> None:
    code = TIED.replace("KERNEL", str(kernel))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            said = {parent.stdout.readline().strip() for _ in range(2)}
            assert b"True" in said
            child = int((said - {b"True"}).pop())
            assert start_time(child) is not None
        finally:
            parent.kill()
        assert parent.stdout.read() == b"", "the child had the pipe, too, and has ended"


def childless(pid: int) -> bool:
    """Whether a process has no children left within some time."""
    deadline = time.monotonic() + 20
    while left := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if time.monotonic() > deadline:
            return not left
        time.sleep(0.01)
    return True


async def test_a_process_that_nobody_waits_for_is_killed(tmp_path: Path) -> None:
    libraries = find(KrunOptions())
    if libraries is None or libraries.firmware is None:
        pytest.skip("libkrun is not installed (pip install monocore-vmm-libkrun[bundled])")
    server = await ForkServer.start(libraries, Path(sys.executable))
    sink = os.open(tmp_path / "console", os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(3):
            waiting = asyncio.create_task(server.fork(tmp_path, (Call("krun_start_enter"),), sink))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        forked = await server.fork(tmp_path, (Call("krun_start_enter"),), sink)
        async with asyncio.timeout(20):
            assert await forked.status == 125, "requests are answered in order, so the others were"
            await forked.process.wait()
        assert await in_thread(partial(childless, server.process.pid))
    finally:
        os.close(sink)
        await server.close()
