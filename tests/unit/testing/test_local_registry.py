"""The registry fixture: a real registry, which takes pushes and leaves nothing."""

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from monocore_core.errors import NotFound, Unreachable
from monocore_core.testing.filespec import file
from monocore_core.testing.images import build_image, build_index
from monocore_core.testing.registry import LocalRegistry

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "docker-registry")]


def test_what_was_pushed_is_served(tmp_path: Path) -> None:
    image = build_image([[file("a", b"1")]])
    with LocalRegistry(tmp_path) as registry:
        reference = registry.push(build_index([image]), "team/app", "1.0")
        assert reference == f"{registry.address}/team/app:1.0"
        for digest, blob in image.blobs.items():
            with urllib.request.urlopen(f"http://{registry.address}/v2/team/app/blobs/{digest}") as answer:
                assert answer.read() == blob.read()
        pid = registry.pid
    assert not Path(f"/proc/{pid}").exists()
    assert registry.pid == 0


async def test_two_registries_side_by_side_with_users_and_tls(tmp_path: Path) -> None:
    image = build_image([[file("a", b"1")]])
    async with (
        LocalRegistry(tmp_path / "one", users={"ann": "secret"}) as one,
        LocalRegistry(tmp_path / "two", tls=True) as two,
    ):
        assert one.address != two.address
        one.push(image, "app")
        two.push(image, "app")
        one.users["ann"] = "wrong"
        with pytest.raises(Unreachable, match="401"):
            one.push(image, "app")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="docker-registry") as caught, LocalRegistry(tmp_path / "r"):
        pass
    assert "Debian package" in (caught.value.hint or "")


def test_the_registry_ends_with_a_process_that_dies(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from monocore_core.testing.registry import LocalRegistry\n"
        "registry = LocalRegistry(Path(sys.argv[1])); registry.start()\n"
        "print(registry.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -9
    # the kernel closes a dying process's files before it calls the process dead: wait for the word, not for the pipe
    path, until = Path(f"/proc/{int(done.stdout)}/stat"), time.monotonic() + 20
    while not _ended(path):
        assert time.monotonic() < until, path.read_text()
        time.sleep(0.01)


def _ended(stat: Path) -> bool:
    """Whether the process of a ``/proc/PID/stat`` is gone, or a zombie of init."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
