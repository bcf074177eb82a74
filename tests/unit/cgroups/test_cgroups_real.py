"""Groups of this host's kernel, of the version that it has, as root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from monocore_core.cgroups import Cgroups, Limit, Limits
from monocore_core.errors import Conflict, StorageError

pytestmark = [pytest.mark.root, pytest.mark.integration]
SCOPE = f"test{uuid.uuid4().hex[:12]}"
SPIN = "import os\nprint('up', flush=True)\nwhile True: pass"


@pytest.fixture
def groups() -> Iterator[Cgroups]:
    made = Cgroups(SCOPE)
    yield made
    made.sweep(())
    assert made.keys() == ()


def need(groups: Cgroups, *limits: Limit) -> None:
    for limit in limits:
        if (reason := groups.what_works()[limit]) is not None:
            pytest.skip(f"needs a limit of {limit}: {reason}")


def test_a_share_of_the_processor_holds(groups: Cgroups) -> None:
    need(groups, Limit.CPU)
    group = groups.create("cpu", Limits(cpu=0.2))
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        group.attach(child.pid)
        assert group.pids() == (child.pid,)
        before, began = _used(child.pid), time.monotonic()
        while (seconds := time.monotonic() - began) < 1.0:
            assert child.poll() is None
            time.sleep(0.05)  # this is what is measured
        used = _used(child.pid) - before
        group.kill()
        assert child.wait() == -signal.SIGKILL
    assert 0 < used < 0.35 * seconds
    assert group.usage().throttled_ns or used < 0.2
    group.remove()
    assert groups.find("cpu") is None


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


FORKS = """
import os, sys
open(sys.argv[1], "w").write("0")
n = 0
try:
    for n in range(50):
        if os.fork() == 0:
            os.read(0, 1)
            os._exit(0)
except OSError:
    print("refused at", n, flush=True)
os.read(0, 1)
"""


def test_processes_are_counted_and_killed_with_their_children(groups: Cgroups) -> None:
    need(groups, Limit.PIDS)
    group = groups.create("pids", Limits(pids=5))
    (procs,) = {group.folders[Limit.PIDS] / "cgroup.procs"}
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, procs], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"refused at 4\n"
        assert len(group.pids()) == 5
        assert group.usage().pids == 5
        with pytest.raises(Conflict):
            group.remove()
        group.kill()
        assert group.pids() == ()
        child.wait()
    group.remove()
    group.remove()
    group.kill()


def test_memory_is_bounded(groups: Cgroups) -> None:
    need(groups, Limit.MEMORY)
    group = groups.create("memory", Limits(memory=64 << 20))
    script = (
        f"open({str(group.folders[Limit.MEMORY] / 'cgroup.procs')!r}, 'w').write('0')\nx = b'a' * (200 << 20)"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL
    assert group.usage().oom_kills
    group.remove()


def test_a_sweep_ends_what_nobody_knows_and_spares_other_scopes(groups: Cgroups) -> None:
    need(groups, Limit.CPU, Limit.PIDS)
    other = Cgroups(f"test{uuid.uuid4().hex[:12]}")
    with (
        subprocess.Popen(["sleep", "1000"]) as known,
        subprocess.Popen(["sleep", "1000"]) as unknown,
        subprocess.Popen(["sleep", "1000"]) as elsewhere,
    ):
        try:
            groups.create("known", Limits(pids=10)).attach(known.pid)
            groups.create("unknown", Limits(cpu=1.5, pids=10)).attach(unknown.pid)
            other.create("unknown", Limits(pids=10)).attach(elsewhere.pid)
            again = Cgroups(SCOPE)  # as after a crash
            assert again.keys() == ("known", "unknown")
            assert again.sweep({"known"}) == ("unknown",)
            assert unknown.wait() == -signal.SIGKILL
            assert (known.poll(), elsewhere.poll()) == (None, None)
            found = again.find("known")
            assert found is not None
            assert found.pids() == (known.pid,)
        finally:
            for child in (known, unknown, elsewhere):
                child.kill()
                child.wait()
            other.sweep(())


def test_limits_change_while_it_runs_and_a_dead_process_is_refused(groups: Cgroups) -> None:
    need(groups, Limit.CPU, Limit.PIDS)
    group = groups.create("one", Limits(pids=10))
    again = groups.create("one", Limits(pids=20, cpu=0.5))
    assert set(again.folders) >= {Limit.PIDS, Limit.CPU}
    assert (group.folders[Limit.PIDS] / "pids.max").read_text() == "20\n"
    again = groups.create("one", Limits(cpu=2))
    assert (group.folders[Limit.PIDS] / "pids.max").read_text() == "max\n"
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(StorageError, match="No such process"):
        group.attach(child.pid)
    again.remove()


ORDINARY = """
import os, subprocess, sys
from monocore_core.cgroups import Cgroups, Limit, Limits
input()
os.setgroups([])  # not before the imports: the interpreter may be in a folder of root's
os.setgid(1000)
os.setuid(1000)
groups = Cgroups("ordinary")
assert groups.what_works()[Limit.PIDS] is None, groups.what_works()
way = groups.survey.way(Limit.PIDS)
assert way.leaf, way
group = groups.create("one", Limits(pids=3, cpu=0.5))
child = subprocess.Popen(["sleep", "1000"])
group.attach(child.pid)
assert group.pids() == (child.pid,)
assert group.usage().pids == 1
assert Cgroups("ordinary").sweep(()) == ("one",)
print(child.wait(), open("/proc/self/cgroup").read().strip(), flush=True)
input()
"""


def test_an_ordinary_user_limits_in_the_group_that_was_delegated() -> None:
    """What systemd does for a unit with ``Delegate=yes``, done by hand."""
    ways = {way for limit in (Limit.CPU, Limit.PIDS) if (way := Cgroups(SCOPE).survey.way(limit))}
    if {way.version for way in ways} != {2}:
        pytest.skip("needs cgroup v2 with the cpu and pids controllers")
    base = ways.pop().base
    unit = base / f"monocore-unit-{uuid.uuid4().hex[:8]}"
    (base / "cgroup.subtree_control").write_text("+cpu +pids")
    unit.mkdir()
    try:
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(unit / name, 1000, 1000)
        words = [sys.executable, "-c", ORDINARY]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            (unit / "cgroup.procs").write_text(str(child.pid))
            out, _ = child.communicate("\n\n", timeout=100)
        assert out == f"-9 0::/{unit.name}/monocore.self\n"
    finally:
        (unit / "cgroup.kill").write_text("1")
        for folder in sorted((unit, *(path for path in unit.rglob("*") if path.is_dir())), reverse=True):
            folder.rmdir()
