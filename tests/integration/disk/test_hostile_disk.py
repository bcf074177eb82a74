"""A disk that is full, broken or suddenly read-only, at every single write: a sentence, nothing damaged, and on it goes when it works again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.needs("gcc", "gcc")]
HERE = Path(__file__).parent
#: Fail at every call of the store, too, which takes half a minute, instead of at each third.
WHOLE = os.environ.get("MONOCORE_TEST_WHOLE_DISK") == "1"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    argv = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        "-o",
        str(library),
        str(HERE / "shim.c"),
        "-ldl",
    ]
    subprocess.run(argv, check=True, timeout=60)
    return library


@pytest.mark.parametrize(
    ("work", "every", "least"),
    [
        pytest.param("store", 3, 40, id="store and state database"),
        pytest.param("log", 1, 20, id="logs"),
        pytest.param("root", 1, 5, id="merged roots"),
    ],
)
def test_each_write_may_fail(shim: Path, tmp_path: Path, work: str, every: int, least: int) -> None:
    result = subprocess.run(
        [sys.executable, str(HERE / "driver.py"), work, str(tmp_path), str(1 if WHOLE else every)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "LD_PRELOAD": str(shim), "PYTHONWARNINGS": "error"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    failed, refused = map(int, result.stdout.split())
    assert failed >= least, "the shim counts"
    assert refused > failed / 3 or work == "log", "and what fails is told"
