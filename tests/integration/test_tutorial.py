"""The tutorial, as a reader does it: every block of it, from the first to the last."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from monocore_core.testing.filespec import file
from monocore_core.testing.samples import busybox_image

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial.md"
_BLOCK = re.compile(r"^```(sh|text|python|toml|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_step_does_what_it_says(stranger: Path, tmp_path: Path) -> None:
    layout, work = tmp_path / "layout", tmp_path / "work"
    for folder in (layout, work):
        folder.mkdir()
    busybox_image(extra=(file("big", bytes(1024 * 1024)),)).write_layout(layout)
    environ = {
        **os.environ,
        "MONOCORE_HOME": str(tmp_path / "home"),
        "IMAGE": f"oci:{layout}",
        "PATH": f"{stranger.parent}:{os.environ['PATH']}",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    shown, steps = "", 0
    for language, text in _BLOCK.findall(TUTORIAL.read_text()):
        match language:
            case "sh":
                done = subprocess.run(
                    ["bash", "-euc", text],
                    env=environ,
                    cwd=work,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=300,
                    check=False,
                )
                shown, steps = done.stdout, steps + 1
                assert done.returncode == 0, f"{text}\n{shown}"
            case "text":
                for line in text.splitlines():
                    assert line in shown, f"{line!r} is not in {shown}"
            case "python" | "toml":
                first, rest = text.split("\n", 1)
                path = work / first.removeprefix("# ")
                assert path.parent.is_dir(), first
                path.write_text(rest)
            case _:
                continue  # what the reader's own machine needs
    assert steps > 7
