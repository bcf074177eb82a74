import os
import pty
import subprocess
import sys
import termios

import pytest
from attrs import evolve

from monocore_core.cli.progress import PullProgress
from monocore_core.model.digest import Digest
from monocore_core.model.events import LayerDone, LayerProgress, Resolved, Retrying, Stage, Waiting, Warned

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
IMAGE = Digest.of(b"image")
RESOLVED = Resolved("docker.io/library/alpine:latest", IMAGE, ((ONE, 1000), (TWO, 3000)))

DRAW = """
from monocore_core.cli.progress import PullProgress
from monocore_core.model.digest import Digest
from monocore_core.model.events import *
one, two = Digest.of(b"1"), Digest.of(b"2")
with PullProgress() as show:
    show(Resolved("docker.io/library/alpine:latest", Digest.of(b"image"), ((one, 1000), (two, 3000))))
    show(LayerProgress(one, 500, 1000))
    show(Retrying("layer [bold]x", "the server said 500", 1.0))
    show(LayerDone(one, one, False))
    show(LayerDone(two, two, True))
    show.finished()
"""


def _pull(show: PullProgress, *, existed: bool) -> None:
    show(RESOLVED)
    show(LayerProgress(ONE, 500, 1000))
    show(LayerDone(ONE, ONE, existed=existed))
    show(LayerDone(TWO, TWO, existed=True))


def test_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress() as show:
        _pull(show, existed=False)
        show.finished()
        show.finished()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Pulling docker.io/library/alpine:latest",
        f"{ONE.short}: Pull complete",
        f"{TWO.short}: Already exists",
        f"Digest: {IMAGE}",
        "Status: Downloaded newer image for docker.io/library/alpine:latest",
    ]


@pytest.mark.parametrize(
    ("known", "what"), [(True, "Image is up to date"), (False, "Downloaded newer image")]
)
def test_an_image_that_is_here_by_this_name_is_up_to_date(
    capsys: pytest.CaptureFixture[str], what: str, *, known: bool
) -> None:
    with PullProgress() as show:
        show(evolve(RESOLVED, known=known))
        show(LayerDone(ONE, ONE, existed=True))
        show.finished()
    assert capsys.readouterr().err.splitlines()[-1] == f"Status: {what} for docker.io/library/alpine:latest"


def test_the_intro_comes_once_and_only_before_a_pull(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress(intro="Unable to find image 'alpine' locally") as show:
        show(Stage("s", "plan", 0.1))
        show(Stage("s", "image", 0.2))
        assert capsys.readouterr().err == ""
        show(RESOLVED)
        show(RESOLVED)
    assert capsys.readouterr().err.splitlines()[:2] == [
        "Unable to find image 'alpine' locally",
        "Pulling docker.io/library/alpine:latest",
    ]


def test_a_sandbox_that_starts_has_its_image(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress() as show:
        show(RESOLVED)
        show(Stage("s", "image", 0.5))
        assert "Digest: " in capsys.readouterr().err


def test_quiet_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress(quiet=True, intro="x") as show:
        _pull(show, existed=False)
        show(Waiting("layer"))
        show(Warned("the disk\nis nearly full"))
        show.finished()
    assert capsys.readouterr().err == "monocore: warning: the disk is nearly full\n"


def test_waiting_and_retrying_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress() as show:
        show(Retrying("layer 1", "connection reset", 0.5))
        show(Waiting("layer 2"))
    assert capsys.readouterr().err.splitlines() == [
        "layer 1: connection reset; trying again in 0.5 s",
        "layer 2: waiting for another process that does the same",
    ]


def test_stages_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress(stages=True) as show:
        show(Stage("s", "plan", 0.010, 0.010))
        show(Stage("s", "boot", 1.5, 1.49))
    first, second = capsys.readouterr().err.splitlines()
    assert first.split() == ["10.0", "ms", "plan", "(+10.0)"]
    assert second.split() == ["1500.0", "ms", "boot", "(+1490.0)"]


def test_a_name_from_a_registry_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with PullProgress() as show:
        show(Resolved("evil\x1b[2J", IMAGE, ()))
    assert "\x1b" not in capsys.readouterr().err


def test_bars_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    environ = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [sys.executable, "-c", DRAW], stdout=subprocess.PIPE, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        seen = bytearray()
        try:
            while data := os.read(ours, 65536):
                seen += data
        except OSError:  # EIO: the other end is closed
            pass
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert process.wait(30) == 0
    text = seen.decode()
    assert ONE.short in text
    assert "kB" in text
    assert "layer [bold]x: the server said 500" in text
    assert "Status: Downloaded newer image" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
