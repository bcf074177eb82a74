import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.cli import failures
from monocore_core.errors import (
    CommandNotExecutable,
    CommandNotFound,
    ConfigError,
    MonocoreError,
    NotFound,
    NothingFits,
)


def _said(error: BaseException, *, debug: bool = False) -> tuple[list[str], int]:
    stream = io.StringIO()
    status = failures.report(error, debug=debug, stream=stream)
    return stream.getvalue().splitlines(), status


def test_brief_and_hint() -> None:
    lines, status = _said(NotFound("image 'x' is not here", hint="pull it"))
    assert lines == ["monocore: error: image 'x' is not here", "  hint: pull it"]
    assert status == 125


def test_no_hint_no_line() -> None:
    assert _said(MonocoreError("broken"))[0] == ["monocore: error: broken"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandNotFound("x"), 127),
        (CommandNotExecutable("x"), 126),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (RuntimeError("x"), 125),
    ],
)
def test_exit_status(error: BaseException, status: int) -> None:
    assert _said(error)[1] == status


def test_every_problem_of_the_configuration_is_listed() -> None:
    lines, _ = _said(
        ConfigError("monocore.toml is wrong", problems=("backends.x: unknown", "home: not text"), hint="fix")
    )
    assert lines == [
        "monocore: error: monocore.toml is wrong",
        "  backends.x: unknown",
        "  home: not text",
        "  hint: fix",
    ]


def test_every_reason_is_listed_within_bounds() -> None:
    lines, _ = _said(NothingFits("nothing", reasons=tuple(f"backend {n}" for n in range(50))))
    assert len(lines) == 1 + failures.MAX_DETAILS + 1
    assert lines[-1] == "  … and 30 more"


def test_silence_for_interrupts_and_closed_pipes() -> None:
    assert _said(KeyboardInterrupt())[0] == []
    assert _said(BrokenPipeError())[0] == []


def test_the_unexpected_is_one_line_and_points_to_debug() -> None:
    lines, _ = _said(RuntimeError("line\nbreak"))
    assert lines == [
        "monocore: error: unexpected RuntimeError: line break",
        "  hint: run again with --debug to see where",
    ]


def test_debug_shows_the_traceback_and_the_cause() -> None:
    error = MonocoreError("above")
    error.__cause__ = OSError("below")
    lines, _ = _said(error, debug=True)
    text = "\n".join(lines)
    assert "direct cause" in text
    assert "OSError: below" in text
    assert lines[-1] == "monocore: error: above"


def test_of_a_group_our_own_error_is_told() -> None:
    group = BaseExceptionGroup("g", [ValueError("x"), ExceptionGroup("h", [NotFound("y")])])
    assert _said(group)[0] == ["monocore: error: y"]
    assert _said(ExceptionGroup("g", [ValueError("x")]))[0][0].endswith("ValueError: x")


def test_a_registry_cannot_drive_the_terminal() -> None:
    lines, _ = _said(NotFound("tag '\x1b]0;owned\x07\x9b2J\u202e' is not there"))
    assert lines == ["monocore: error: tag '\\x1b]0;owned\\x07\\x9b2J\\u202e' is not there"]


@given(st.text(max_size=3000))
def test_clean_text_is_one_printable_bounded_line(text: str) -> None:
    cleaned = failures.clean(text)
    assert cleaned.isprintable()
    assert len(cleaned) <= 1000


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=200))
def test_clean_leaves_ordinary_words_alone(text: str) -> None:
    assert failures.clean(text) == text
