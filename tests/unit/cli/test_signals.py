import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from monocore_core.cli.signals import Signals, ending_signals_raise, run_interruptibly

CHILD = """
import asyncio, os, signal, sys
from monocore_core.cli.signals import run_interruptibly

async def work(signals):
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned", flush=True)
        if "stuck" in sys.argv:
            try:
                await asyncio.sleep(60)
            finally:
                print("interrupted", flush=True)
    return 0

sys.exit(run_interruptibly(work))
"""


def _child(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, *words], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_an_ending_signal_cleans_up_and_shows_in_the_status(number: int) -> None:
    with _child() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaned\n"
        assert process.wait(30) == 128 + number


def test_one_further_signal_does_not_break_the_cleaning_but_three_end_it() -> None:
    with _child("stuck") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "cleaned\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(30) in (-signal.SIGTERM, -signal.SIGHUP)


def test_what_the_caller_ignores_stays_ignored() -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + CHILD
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT


def test_forwarded_signals_reach_the_guest_and_three_in_a_row_force() -> None:
    passed: list[int] = []

    async def work(signals: Signals) -> int:
        queue: asyncio.Queue[int] = asyncio.Queue()
        signals.forward_to(queue.put_nowait, lambda: queue.put_nowait(0))
        for number in (
            signal.SIGUSR1,
            signal.SIGUSR1,
            signal.SIGUSR1,
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGINT,
        ):
            os.kill(os.getpid(), number)
            passed.append(await asyncio.wait_for(queue.get(), 10))
        signals.finish()
        heard = asyncio.Event()
        signals.on(signal.SIGUSR2, heard.set)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.wait_for(heard.wait(), 10)
        return 5

    assert run_interruptibly(work) == 5
    assert passed == [signal.SIGUSR1] * 3 + [signal.SIGINT, signal.SIGTERM, 0]


def test_work_that_blocks_ends_where_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reader, writer = os.pipe()

    def work() -> None:
        with ending_signals_raise():
            os.kill(os.getpid(), signal.SIGHUP)  # nohup's stays ignored
            sender.start()
            os.read(reader, 1)  # nobody writes

    sender = threading.Timer(0, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        with pytest.raises(SystemExit) as ended:
            work()
        sender.join()
    finally:
        signal.signal(signal.SIGHUP, ignored)
        os.close(reader)
        os.close(writer)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
