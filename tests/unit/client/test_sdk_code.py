"""Source is run as it would be alone, and what came of it is told apart from what it printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from monocore_core.client.sdk.code import CodePlan, CodeResult
from monocore_core.client.sdk.values import Result
from monocore_core.errors import InvalidInput


def run(source: str, folder: Path) -> CodeResult:
    """What the sandbox does, here."""
    plan = CodePlan.of("python")
    (folder / "main.py").write_text(source)
    told = folder / "told"
    words = [sys.executable, *plan.command[1:3], str(folder / "main.py"), str(told), plan.command[-1]]
    ended = subprocess.run(words, cwd=folder, capture_output=True, check=False)
    result = Result(ended.returncode, stdout_bytes=ended.stdout, stderr_bytes=ended.stderr)
    return plan.result(result, told.read_bytes() if told.exists() else b"", ("b", "a"))


def test_the_last_value_and_the_output(tmp_path: Path) -> None:
    found = run("print('out')\nx = 20\nx + 22", tmp_path)
    assert (found.ok, found.stdout, found.value, found.error) == (True, "out\n", "42", None)
    assert found.files == ("a", "b")
    assert run("x = 1", tmp_path).value is None
    assert run("None", tmp_path).value is None
    assert run("", tmp_path).ok


def test_it_is_the_main_program(tmp_path: Path) -> None:
    found = run(
        "import sys\nclass A: pass\nif __name__ == '__main__': print(len(sys.argv), A.__module__)", tmp_path
    )
    assert found.stdout == "1 __main__\n"


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ("def f():\n  return 1 / 0\nf()", "ZeroDivisionError", "division by zero"),
        ("1 +", "SyntaxError", "invalid"),
    ],
)
def test_an_exception_is_told(source: str, kind: str, text: str, tmp_path: Path) -> None:
    found = run(source, tmp_path)
    assert found.error is not None
    assert (found.result.code, found.error.type) == (1, kind)
    assert text in found.error.text
    assert found.error.trace in found.stderr
    assert "ast.parse" not in found.error.trace or kind == "SyntaxError"


@pytest.mark.parametrize(("source", "code"), [("raise SystemExit(7)", 7), ("exit()", 0), ("exit('bye')", 1)])
def test_leaving_is_no_error(source: str, code: int, tmp_path: Path) -> None:
    found = run(f"import sys\nfrom sys import exit\n{source}", tmp_path)
    assert (found.result.code, found.error) == (code, None)


@pytest.mark.parametrize("told", [b"", b"no", b"[]", b'{"value": 7, "error": 3}', b"{" * 9999])
def test_what_is_told_is_not_believed(told: bytes) -> None:
    found = CodePlan.of("python").result(Result(0), told, ())
    assert (found.value, found.error) == (None, None)


def test_languages() -> None:
    assert CodePlan.of("javascript").command[0] == "node"
    assert CodePlan.of("shell").command[0] == "sh"
    assert CodePlan.of("shell").folder != CodePlan.of("shell").folder
    with pytest.raises(InvalidInput, match="not a language"):
        CodePlan.of("cobol")
    assert evolve(CodePlan.of("shell"), folder="/f").beside == "/f.d"
