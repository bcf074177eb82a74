"""The examples of docs/sdk.md, and of the README, do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    *_BLOCK.findall((ROOT / "docs" / "sdk.md").read_text()),
    *(one for one in _BLOCK.findall((ROOT / "README.md").read_text()) if "monocore_core.client" in one),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_works(example: str, image: str, socket: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.replace("alpine:3.20", image)],
        env={**os.environ, "MONOCORE_HOME": str(socket.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8
