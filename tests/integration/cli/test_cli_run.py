"""``monocore run``, for real: exit statuses, streams, signals, deadlines."""

import hashlib
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -9 $$"), 137),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_the_status_is_the_commands(monocore: Run, image: str, words: tuple[str, ...], status: int) -> None:
    ended = monocore("run", "-q", image, *words)
    lines = ended.stderr.decode().splitlines()
    assert ended.returncode == status, lines
    assert ended.stdout == b""
    if status in (126, 127):
        assert lines[0].startswith("monocore: error: ")
        assert words[0] in lines[0]
        assert len(lines) <= 3
    else:
        assert lines == []


def test_standard_input_ends_and_comes_back(monocore: Run, image: str) -> None:
    ended = monocore("run", "-i", image, "cat", stdin=b"hi\n")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hi\n", b"")


def test_without_i_standard_input_is_not_touched(monocore: Run, image: str) -> None:
    ended = monocore("run", image, "cat", stdin=b"not for the guest")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_bytes_are_exact_both_ways(monocore: Run, image: str) -> None:
    data = random.Random(7).randbytes(12 * 1024 * 1024 + 321)
    ended = monocore("run", "-i", image, "sh", "-c", "tee /proc/self/fd/2 | sha256sum", stdin=data)
    assert ended.returncode == 0
    assert ended.stderr == data
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_the_flags_reach_the_guest(monocore: Run, image: str) -> None:
    script = "id -u; id -g; pwd; hostname; echo $A-$B; nproc; ulimit -n; df -P /var/tmp | tail -1; touch /x; echo $?"
    process = ("-e", "A=1", "-e", "B", "-w", "/home/app", "-u", "1000:50", "--ulimit", "nofile=77:99")
    machine = ("--name", "flags", "--hostname", "guest7", "--cpus", "2", "-m", "256m", "--rm")
    root = ("--read-only", "--tmpfs", "/var/tmp:size=8m")
    words = ("run", *process, *machine, *root, "--entrypoint", "sh", image, "-c", script)
    ended = monocore(*words, environ={"B": "two"})
    lines = ended.stdout.decode().splitlines()
    assert lines[:7] == ["1000", "50", "/home/app", "guest7", "1-two", "2", "77"], ended.stderr
    assert lines[7].split()[1] == "8192"
    assert lines[8] == "1"
    assert b"Read-only file system" in ended.stderr


def test_writes_on_a_disk(monocore: Run, image: str) -> None:
    words = ("sh", "-c", "dd if=/dev/zero of=/big bs=1M count=150 2>/dev/null && stat -c %s /big")
    ended = monocore("run", "-m", "128m", "--disk", "400m", image, *words)
    assert (ended.stdout, ended.returncode) == (b"157286400\n", 0), ended.stderr


def test_time_that_is_up_ends_the_command_with_124(monocore: Run, image: str) -> None:
    ended = monocore("run", "--timeout", "500ms", image, "sh", "-c", "echo begun; sleep 60")
    assert (ended.returncode, ended.stdout) == (124, b"begun\n")
    assert ended.stderr.decode().splitlines() == ["monocore: the command was ended after 0.5 s (--timeout)"]


def test_a_command_that_ignores_the_end_is_ended_all_the_same(monocore: Run, image: str) -> None:
    began = time.monotonic()
    ended = monocore("run", "--timeout", "0.5", image, "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    assert ended.returncode == 124
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(start: Start, image: str, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 3' {name}; echo ready; while :; do sleep 0.1; done"
    with start("run", image, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.read() == f"got {name}\n".encode()
        assert process.wait(60) == 3
        assert process.stderr.read() == b""


def test_the_third_signal_ends_a_sandbox_that_does_not_listen(start: Start, image: str) -> None:
    with start(
        "run", image, "sh", "-c", "trap 'echo no' INT; echo ready; while :; do sleep 0.1; done"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"no\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 137
        assert b"did not react to three signals" in process.stderr.read()


def test_a_signal_while_the_machine_starts_cleans_up(start: Start, image: str) -> None:
    with start("run", "--timing", image, "sleep", "60") as process:
        assert process.stderr is not None
        while b"spawn" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert b"Traceback" not in process.stderr.read()


def test_a_reader_that_goes_away_ends_the_sandbox_quietly(start: Start, image: str) -> None:
    with start("run", image, "yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_a_slow_reader_loses_nothing(start: Start, image: str) -> None:
    with start("run", image, "sh", "-c", "seq 300000") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for us
            process.wait(1.5)
        rest = process.stdout.read()
        assert process.wait(60) == 0
    assert (first + rest).split() == [str(number).encode() for number in range(1, 300001)]


def test_a_child_left_behind_does_not_keep_us(monocore: Run, image: str) -> None:
    ended = monocore("run", image, "sh", "-c", "sleep 300 & echo done")
    assert (ended.returncode, ended.stdout) == (0, b"done\n")


def test_memory_that_runs_out_is_said(monocore: Run, image: str) -> None:
    ended = monocore("run", "-m", "96m", image, "awk", 'BEGIN { while (1) a[i++] = sprintf("%1000d", i) }')
    assert ended.returncode == 137, ended.stderr
    assert "want of memory" in ended.stderr.decode()
    assert "--memory" in ended.stderr.decode()


def test_timing_shows_the_stages(monocore: Run, image: str) -> None:
    ended = monocore("run", "--timing", image, "echo", "hi")
    said = ended.stderr.decode()
    names = re.findall(r" ms +(.+) \(\+", said)
    assert ended.returncode == 0
    assert names[:2] == ["plan", "image"]
    assert {"merge", "network", "assemble", "spawn", "boot", "root", "exec", "first byte", "exit"} <= set(
        names
    )
    assert said.count("the machine ") == 1
