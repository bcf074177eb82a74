"""Python source in a real Python in a sandbox: what it prints, gives, raises and makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.client.sync import Client, Sandbox
from monocore_core.testing.registry import LocalRegistry
from scripts.bench.python_image import PROGRAM, python_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def python(registry: LocalRegistry, socket: Path) -> Iterator[Sandbox]:
    """A sandbox with this host's Python."""
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not installed")
    reference = registry.push(python_image(), "sdk/python")
    with Client.connect(f"unix://{socket}") as client, client.create(reference, memory="256MiB") as sandbox:
        yield sandbox


def test_what_it_prints_gives_and_makes(python: Sandbox) -> None:
    source = (
        "import sys\nprint('häi')\nprint('err', file=sys.stderr)\nopen('made', 'w').write('x')\n{'a': [1, 2]}"
    )
    result = python.run_code("python", source)
    assert (result.ok, result.value, result.error) == (True, "{'a': [1, 2]}", None)
    assert (result.stdout, result.stderr, result.files) == ("häi\n", "err\n", ("made",))
    assert python.files.read(f"{result.folder}/made") == b"x"
    again = python.run_code("python", "import os\nos.listdir('.')")
    assert (again.value, again.files) == ("[]", ())


def test_an_exception_is_told_apart_from_what_is_printed(python: Sandbox) -> None:
    result = python.run_code("python", "def f():\n    return 1 / 0\nprint('on')\nf()")
    assert result.error is not None
    assert (result.ok, result.error.type, result.error.text) == (
        False,
        "ZeroDivisionError",
        "division by zero",
    )
    assert "line 2, in f" in result.error.trace
    assert result.stdout == "on\n"
    broken = python.run_code("python", "def f(:")
    assert broken.error is not None
    assert broken.error.type == "SyntaxError"


def test_the_exit_status_is_the_programs(python: Sandbox) -> None:
    assert python.run_code("python", "import sys; sys.exit(7)").result.code == 7
    assert python.run_code("python", "x = 5").value is None
