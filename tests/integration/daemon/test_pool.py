"""A daemon with a pool: sandboxes come from it, it is told everywhere, and a daemon that is killed leaves none of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monocore_core.client.tables import Table, items, parse_table, table, whole
from tests.integration.daemon.conftest import Home, machines_of
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class _Pooled(Home):
    """A home of its own, whose daemon keeps one machine of each image, and one of each shape."""

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "MONOCORE_CONFIG": str(self.path.with_name("pool.toml"))}


@pytest.fixture(scope="module")
def pooled(served: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One that has started a sandbox."""
    folder = tmp_path_factory.mktemp("pooled")
    (folder / "pool.toml").write_text('[pool]\nsize = 1\nreserve = "1MiB"\npressure = 100\n')
    made = _Pooled(folder / "home", served)
    made.out("run", "--rm", "-q", made.image, "true")
    if "vmm_qemu" not in made.out("plan", made.image):
        made.close()
        pytest.skip("no VMM here keeps spares")
    yield made
    made.close()


def _record(home: Home, name: str) -> Table:
    found: object = json.loads(home.out("inspect", name))
    return table(found[0] if isinstance(found, list) else found)  # pyright: ignore[reportUnknownArgumentType] - JSON


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _ready(home: Home) -> bool:
    """Whether everything waits that should: for the image, and for any other."""
    found = re.findall(r"(\d+) of (\d+) ready, for (one|any) image", home.out("info"))
    return {kind for *_, kind in found} == {"one", "any"} and all(one == all_ for one, all_, _ in found)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("daemon", timeout=LIMIT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _metrics(home: Home) -> list[str]:
    connection = _Unix(home.path / "monocore.sock")
    connection.request("GET", "/v1/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text.splitlines()


def test_a_sandbox_comes_from_the_pool_and_its_stages_are_told_everywhere(pooled: Home) -> None:
    _until(lambda: _ready(pooled), "no machine is kept ready")
    ended = pooled.run("run", "--name", "timed", "--timing", pooled.image, "echo", "hi")
    assert ended.stdout == b"hi\n"
    said = ended.stderr.decode()
    assert "the machine comes from the pool" in said
    names = re.findall(r" ms +(.+) \(\+", said)
    assert set(names[2:4]) == {"merge", "network"}
    assert names[4:9] == ["assemble", "spawn", "boot", "root", "exec"]
    assert set(names[9:]) == {"first byte", "exit"}
    record = _record(pooled, "timed")
    assert record["began"] == "spare"
    stages = [items(stage) for stage in items(record["stages"])]
    assert {str(name) for name, _ in stages} == set(names)
    seconds = [float(str(second)) for _, second in stages]
    assert 0 < seconds[0] <= seconds[-1] == max(seconds)
    figures = _metrics(pooled)
    assert 'monocore_starts_total{began="spare"} 1.0' in figures
    assert any(
        line.startswith("monocore_start_stage_seconds_count") and 'stage="exit"' in line for line in figures
    )
    pooled.out("rm", "timed")
    assert pooled.run("run", "--rm", pooled.image, "no-such-program").returncode == 127
    assert 'monocore_start_failures_total{reason="CommandNotFound"} 1.0' in _metrics(pooled)


def test_a_daemon_that_is_killed_leaves_no_spare_and_what_came_from_one_runs_on(pooled: Home) -> None:
    _until(lambda: _ready(pooled), "no machine is kept ready")
    pooled.out("run", "-d", "--name", "stays", pooled.image, "sleep", "1000")  # the pool is being refilled
    pid = whole(parse_table(pooled.out("info", "--json").encode()), "pid")
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not Path("/proc", str(pid), "cmdline").exists(), "the daemon lives")
    assert pooled.out("exec", "stays", "echo", "here") == "here\n"
    assert _record(pooled, "stays")["began"] == "spare"
    _until(lambda: len(machines_of(pooled)) == 1, "spares of the daemon that was killed live")
    pooled.out("rm", "-f", "stays")
    pooled.out("serve", "--stop")
    _until(lambda: not machines_of(pooled), "machines are left")
    assert not list(pooled.path.glob("backends/vmm/vmm_qemu/spares/*"))
    assert not list(pooled.path.glob("backends/vmm/vmm_qemu/machines/*"))


def test_nor_does_one_that_kept_no_sandbox(pooled: Home) -> None:
    pooled.out("run", "--rm", pooled.image, "true")
    _until(lambda: _ready(pooled), "no machine is kept ready")
    pid = whole(parse_table(pooled.out("info", "--json").encode()), "pid")
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not Path("/proc", str(pid), "cmdline").exists(), "the daemon lives")
    assert machines_of(pooled)
    pooled.out("ps")  # starts the next one, and nothing else
    _until(lambda: not machines_of(pooled), "spares of the daemon that was killed live")


def test_a_template_that_was_damaged_is_told_of_and_made_anew(pooled: Home) -> None:
    pooled.out("run", "--rm", pooled.image, "true")
    _until(lambda: _ready(pooled), "no machine is kept ready")
    pooled.out("serve", "--stop")
    (template,) = pooled.path.glob("cache/vmm/vmm_qemu/templates/*.template")
    with template.open("r+b") as file:
        file.seek(template.stat().st_size // 2)
        file.write(b"something else")
    pooled.out("run", "--name", "booted", pooled.image, "true")
    assert _record(pooled, "booted")["began_reason"] == "its template was damaged"
    log = (pooled.path / "daemon.log").read_text()
    assert f"{template}: its content is not what was written: it was removed, and the machine boots" in log
    _until(template.exists, "it is not made again")
