"""Processes told apart, watched, signalled: this host's by real children, macOS's by stand-ins for kqueue and libproc."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from typing import cast

import pytest

from monocore_core.processes import boot_id, start_time, watch
from monocore_core.processes.darwin import PROC_PIDTBSDINFO, SZOMB, BsdInfo, QueueHandle, started_at, watched

_PATIENCE = 60


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


class Kernel:
    """libproc's call and a queue for each process, of processes that the test names."""

    def __init__(self) -> None:
        self.started: dict[int, tuple[int, int]] = {}
        self.status = 2
        self.replaced: tuple[int, int] | None = None
        self.open = 0

    def info(self, pid: int, flavor: int, argument: int, found: ctypes.Structure, size: int) -> int:
        assert (flavor, argument, size) == (PROC_PIDTBSDINFO, 0, 136)
        if pid not in self.started:
            return 0
        seconds, microseconds = self.started[pid]
        answer = cast("BsdInfo", found)
        answer.status, answer.start_seconds, answer.start_microseconds = self.status, seconds, microseconds
        return size

    def queue(self, pid: int) -> Kernel:
        self.open += 1
        if self.replaced:
            self.started[pid] = self.replaced
        return self

    def fileno(self) -> int:
        return 7

    def close(self) -> None:
        self.open -= 1


def test_end_and_signal_of_a_child(child: subprocess.Popen[bytes]) -> None:
    handle = watch(child.pid)
    try:
        assert start_time(child.pid) is not None
        assert handle.collect() is None
        handle.signal(signal.SIGTERM)
        assert select.select([handle.fileno()], [], [], _PATIENCE)[0]
        assert start_time(child.pid) is None  # a zombie
        assert handle.collect() == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            handle.signal(signal.SIGTERM)
    finally:
        handle.close()


def test_this_boot_has_one_name() -> None:
    assert boot_id() == boot_id() != ""


def test_layout_is_that_of_xnu() -> None:
    assert ctypes.sizeof(BsdInfo) == 136
    assert [getattr(BsdInfo, name).offset for name in ("status", "comm", "nice", "start_seconds")] == [
        4,
        48,
        116,
        120,
    ]


def test_macos_start_time() -> None:
    kernel = Kernel()
    kernel.started[5] = (3, 4)
    assert started_at(5, kernel.info) == 3_000_004
    assert started_at(6, kernel.info) is None
    kernel.status = SZOMB
    assert started_at(5, kernel.info) is None


def test_macos_never_signals_a_successor(child: subprocess.Popen[bytes]) -> None:
    kernel = Kernel()
    kernel.started[child.pid] = (3, 4)
    handle = watched(child.pid, kernel.queue, kernel.info)
    kernel.started[child.pid] = (3, 5)
    with pytest.raises(ProcessLookupError):
        handle.signal(signal.SIGKILL)
    assert handle.collect() is None
    kernel.started[child.pid] = (3, 4)
    handle.signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert handle.collect() == -signal.SIGKILL
    handle.close()
    assert kernel.open == 0


def test_macos_number_reused_while_the_watch_began() -> None:
    kernel = Kernel()
    kernel.started[5], kernel.replaced = (3, 4), (9, 9)
    with pytest.raises(ProcessLookupError):
        watched(5, kernel.queue, kernel.info)
    assert kernel.open == 0


def test_macos_collects_no_stranger() -> None:
    kernel = Kernel()
    assert QueueHandle(1, 0, kernel, kernel.info).collect() is None
