"""The same workload without a jail, in one as whoever runs the tests, and in one as an ordinary user: what it sees and does is the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.model.security import ALWAYS
from monocore_core.testing.archives import layout_members, tar_of
from monocore_core.testing.samples import busybox_image

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.needs("qemu-system-x86_64", "qemu-system-x86"),
    pytest.mark.needs("unshare", "util-linux"),
]
#: Who is no user of the host's but the one who runs the tests, and has none of root's rights.
AS_A_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
EXPECTED = {
    "disk": [f"{hashlib.sha256(bytes(16 << 20)).hexdigest()}  -", "piped", "0"],
    "folders": [
        *("given", "written", "600", "wri"),
        *(".:", "deep", "given", "linked", "", "./deep:", "er", "", "./deep/er:", "moved"),
        "mknod: device: Operation not permitted",
        *("given", "8192", "0"),
    ],
    "served": "hello\n",
    "processors": ["1", "0"],
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    archive.write_bytes(tar_of(layout_members(busybox_image())))
    return f"oci-archive:{archive}"


@pytest.mark.parametrize(
    ("jail", "prefix"),
    [
        pytest.param("off", (), id="unjailed"),
        pytest.param("require", (), id="jailed"),
        pytest.param("require", AS_A_USER, id="jailed as an ordinary user"),
    ],
)
def test_the_same_workload(image: str, tmp_path: Path, jail: str, prefix: tuple[str, ...]) -> None:
    for name in ("data", "fixed"):
        (tmp_path / "shared" / name).mkdir(parents=True)
        (tmp_path / "shared" / name / "given").write_text("given\n")
    words = [str(tmp_path / "home"), image, str(tmp_path / "shared"), jail]
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.integration.jail.workload", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if prefix and "unshare failed" in done.stderr:
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["did"] == EXPECTED
    assert found["told"] == []
    assert set(found["layers"]) >= (ALWAYS if jail == "require" else set())
    assert jail == "require" or not found["layers"]
    assert (tmp_path / "shared/data/deep/er/moved").read_text() == "wri"
    assert [path.name for path in (tmp_path / "shared/fixed").iterdir()] == ["given"]
