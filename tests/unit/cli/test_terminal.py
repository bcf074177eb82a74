import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from monocore_core.cli.terminal import RawTerminal, is_terminal, terminal_size

RAW = """
import os, signal, sys
from monocore_core.cli.terminal import RawTerminal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
raw = RawTerminal(0)
raw.__enter__()
os.write(1, b"ready")
if sys.argv[1] == "exit":
    sys.exit(3)
if sys.argv[1] == "raise":
    raise RuntimeError
signal.pause()
"""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal: ours, theirs."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


def _mode(fd: int) -> list[object]:
    return list(termios.tcgetattr(fd))


def test_raw_mode_ends_with_the_context(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    before = _mode(theirs)
    with RawTerminal(theirs) as raw:
        during = termios.tcgetattr(theirs)
        assert not during[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert _mode(theirs) == before
    raw.restore()
    assert _mode(theirs) == before


def test_raw_mode_ends_with_an_error(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    before = _mode(theirs)
    with contextlib.suppress(ZeroDivisionError), RawTerminal(theirs):
        assert _mode(theirs) != before
        raise ZeroDivisionError
    assert _mode(theirs) == before


def test_raw_mode_is_set_anew_after_someone_changed_it(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    with RawTerminal(theirs) as raw:
        during = _mode(theirs)
        termios.tcsetattr(theirs, termios.TCSANOW, before)
        raw.apply()
        assert _mode(theirs) == during
    assert _mode(theirs) == list(before)


@pytest.mark.parametrize(("how", "status"), [("exit", 3), ("raise", 1), ("signal", 4)])
def test_raw_mode_ends_with_the_program(terminal: tuple[int, int], how: str, status: int) -> None:
    ours, theirs = terminal
    before = _mode(theirs)
    with subprocess.Popen(
        [sys.executable, "-c", RAW, how], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL
    ) as process:
        assert os.read(ours, 5) == b"ready"
        if how == "signal":
            assert _mode(theirs) != before
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == status
    assert _mode(theirs) == before


def test_a_terminal_that_hung_up_is_left_alone() -> None:
    ours, theirs = pty.openpty()
    with RawTerminal(theirs) as raw:
        os.close(ours)
        os.close(theirs)
        raw.apply()


def test_detection(terminal: tuple[int, int]) -> None:
    assert is_terminal(terminal[1])
    reader, writer = os.pipe()
    os.close(writer)
    with contextlib.closing(os.fdopen(reader)):
        assert not is_terminal(reader)
    assert not is_terminal(reader)


def test_size_is_that_of_the_terminal(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    termios.tcsetwinsize(theirs, (41, 123))
    code = "from monocore_core.cli.terminal import terminal_size as s; print(*s(), file=__import__('sys').stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    assert ended.stderr.split() == [b"41", b"123"]


def test_size_without_a_terminal_is_the_usual_one() -> None:
    code = "from monocore_core.cli.terminal import terminal_size as s; print(*s())"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=True,
        start_new_session=True,
    )
    assert ended.stdout.split() == [b"24", b"80"]
    assert terminal_size()[0] > 0
