"""The examples of docs/api.md do what it says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.tables import text

pytestmark = [pytest.mark.integration, pytest.mark.needs("curl", "curl")]
PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def environ(socket: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of somebody whose home is the daemon's."""
    home = tmp_path_factory.mktemp("user")
    (home / ".monocore").symlink_to(socket.parent)
    return {**os.environ, "HOME": str(home)}


@pytest.fixture(scope="module")
def web(api: Api, image: str) -> Iterator[None]:
    """The sandbox of the examples."""
    order = {"sandbox": {"image": image, "name": "web", "foreground": False}, "command": None}
    made = api.call("POST", target("sandboxes"), order, timeout=180.0)
    yield
    api.call("DELETE", target("sandboxes", text(made, "id"), force=True))


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
@pytest.mark.usefixtures("web")
def test_an_example_works(example: str, environ: dict[str, str], image: str, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + example.replace("alpine:3.20", image)
    ended = subprocess.run(
        ["bash", "-c", script],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2
