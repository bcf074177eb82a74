"""``monocore run -it`` in a real terminal: keys, Ctrl-C, size, and the mode put back whatever happens."""

import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.integration.screen import LIMIT, Screen

pytestmark = [pytest.mark.integration, pytest.mark.slow]

Start = Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]
UP = b"\x1b[A"
LEFT = b"\x1b[D"


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    try:
        yield screen
    finally:
        screen.close()


@pytest.fixture
def shell(start: Start, screen: Screen, image: str) -> Iterator[subprocess.Popen[bytes]]:
    """An interactive shell, at its first prompt."""
    fd = screen.theirs
    with start("run", "-it", "-e", "PS1=at> ", image, "sh", stdin=fd, stdout=fd, stderr=fd) as process:
        screen.expect(rb"at> ")
        yield process
        if process.poll() is None:
            process.kill()


def test_a_usable_shell(shell: subprocess.Popen[bytes], screen: Screen) -> None:
    assert screen.mode() != screen.before
    screen.type(b"tty; stty size\r")
    screen.expect(rb"/dev/pts/\d+\r\n24 80\r\n.*at> ")
    screen.type(b"echo fist" + LEFT + LEFT + b"r\r")
    screen.expect(rb"\nfirst\r\n.*at> ")
    screen.type(UP + b" again\r")
    screen.expect(rb"\nfirst again\r\n.*at> ")
    # in a shell of its own, which is in the foreground when it prints: between an `echo` and a `sleep` of this one's,
    # ash itself takes the interrupt and keeps it until the sleep has ended
    screen.type(b"sh -c 'echo asleep; sleep 300'\r")
    screen.expect(rb"\nasleep\r\n")
    screen.type(b"\x03")
    screen.expect(rb"\^C.*at> ")
    termios.tcsetwinsize(screen.theirs, (33, 101))
    shell.send_signal(signal.SIGWINCH)
    screen.type(b"stty size\r")
    screen.expect(rb"\n33 101\r\n.*at> ")
    screen.type(b"exit 5\r")
    assert shell.wait(LIMIT) == 5
    assert screen.mode() == screen.before


def test_the_end_of_input_ends_the_shell(shell: subprocess.Popen[bytes], screen: Screen) -> None:
    screen.type(b"\x04")
    assert shell.wait(LIMIT) == 0
    assert screen.mode() == screen.before


def test_sigterm_hangs_up_and_puts_the_terminal_back(shell: subprocess.Popen[bytes], screen: Screen) -> None:
    shell.send_signal(signal.SIGTERM)
    assert shell.wait(LIMIT) in (128 + signal.SIGTERM, 128 + signal.SIGHUP)
    assert screen.mode() == screen.before


def test_sigterm_while_the_machine_starts(start: Start, screen: Screen, image: str) -> None:
    fd = screen.theirs
    with start("run", "-it", "--timing", image, "sh", stdin=fd, stdout=fd, stderr=fd) as process:
        screen.expect(rb"spawn")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 128 + signal.SIGTERM
    assert screen.mode() == screen.before


def test_ctrl_c_while_the_machine_starts(start: Start, screen: Screen, image: str) -> None:
    """The terminal is not raw yet: the kernel makes a signal of the key, for the foreground group; here we send it."""
    fd = screen.theirs
    with start("run", "-it", "--timing", image, "sh", stdin=fd, stdout=fd, stderr=fd) as process:
        screen.expect(rb"plan")
        assert screen.mode() == screen.before
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 128 + signal.SIGINT
    assert screen.mode() == screen.before


def test_a_terminal_without_input_keeps_its_mode(start: Start, screen: Screen, image: str) -> None:
    fd = screen.theirs
    with start("run", "-t", image, "sh", "-c", "stty size; tty", stdin=fd, stdout=fd, stderr=fd) as process:
        screen.expect(rb"24 80\r+\n.*/dev/pts/\d+")
        assert screen.mode() == screen.before
        assert process.wait(LIMIT) == 0


def test_a_terminal_that_hangs_up_ends_the_sandbox(start: Start, screen: Screen, image: str) -> None:
    ours, theirs = pty.openpty()
    with start(
        "run", "-it", "-e", "PS1=at> ", image, "sh", stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        while b"at> " not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(LIMIT) in (0, 128 + signal.SIGHUP, 128 + signal.SIGPIPE)
