"""A root user in the guest who means harm: what the host gives stays within its bounds, others answer, and the sandbox can be ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monocore_core.client.tables import Table, inner, number, table, text, whole
from tests.integration.daemon.conftest import Home
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.integration, pytest.mark.slow]
MIB = 1024 * 1024
#: What the daemon may take more than before, and the threads that a VMM may have, whatever a guest does.
MOST, THREADS = 64 * MIB, 64
Until = Callable[[Callable[[], bool]], None]


class Bounded(Home):
    """A home of its own, whose logs are small."""

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "MONOCORE_CONFIG": str(self.path.with_name("bounded.toml"))}


@pytest.fixture(scope="module")
def victim(served: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounded]:
    """With a sandbox of somebody else's in it."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "bounded.toml").write_text('[daemon]\nlog_max_size = "64KiB"\nlog_total_size = "256KiB"\n')
    home = Bounded(folder / "home", served)
    home.out("pull", "-q", served)
    home.out("run", "-d", "--name", "neighbour", "-m", "96m", home.image, "sleep", "100000")
    yield home
    home.close()


@contextmanager
def attacker(home: Home, script: str, *flags: str) -> Generator[str]:
    """Id of a sandbox that does what the script says, as root; ended at the end, however busy it is, while the neighbour answers."""
    words = ("run", "-d", "-m", "96m", *flags, home.image, "sh", "-c", script)
    identity = home.out(*words).strip()
    try:
        yield identity
        assert home.out("exec", "neighbour", "echo", "well") == "well\n"
    finally:
        home.out("rm", "-f", identity)
    assert identity[:12] not in home.out("ps", "-a")


def record(home: Home, identity: str) -> Table:
    found: object = json.loads(home.out("inspect", identity))
    return table(found[0] if isinstance(found, list) else found)  # pyright: ignore[reportUnknownArgumentType] - JSON


def size(folder: Path) -> int:
    """Bytes that a tree takes of the disk."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            found += path.lstat().st_blocks * 512
    return found


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def daemon(home: Home) -> int:
    return int(number(table(json.loads(home.out("info", "--json"))), "pid"))


def test_a_flood_of_output_fills_neither_the_disk_nor_the_daemon(victim: Bounded, until: Until) -> None:
    pid = daemon(victim)
    before = resident(pid)
    logs = victim.path / "logs"
    with attacker(victim, "yes 0123456789abcdef & yes fedcba9876543210 >&2 & wait") as identity:
        first = logs / identity / "0000000001.log"
        until(lambda: not first.exists())  # what is old goes
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            assert size(logs) < 4 * MIB
            assert resident(pid) - before < MOST
            time.sleep(0.1)


def test_processes_without_end_are_the_guests_alone(victim: Bounded) -> None:
    with attacker(victim, "bomb() { bomb | bomb & }; bomb; while :; do :; done") as identity:
        pid = whole(record(victim, identity), "pid")
        for _ in range(10):
            assert victim.out("exec", "neighbour", "echo", "well") == "well\n"
            assert len(list(Path(f"/proc/{pid}/task").iterdir())) < THREADS


def test_a_full_disk_is_the_guests_alone(victim: Bounded, until: Until) -> None:
    script = "dd if=/dev/urandom of=/big bs=64k 2>&1 | grep -o 'No space left'; echo and on; sleep 100000"
    before = size(victim.path)
    with attacker(victim, script, "--disk", "32m") as identity:
        until(lambda: "and on" in victim.out("logs", identity))
        assert "No space left" in victim.out("logs", identity)
        assert size(victim.path) - before < 96 * MIB
        assert victim.out("exec", identity, "echo", "yes").strip() == "yes"


def test_the_disk_of_the_image_is_nobodys_to_write(victim: Bounded, until: Until) -> None:
    layers = [path for path in (victim.path / "layers").rglob("*") if path.is_file()]
    assert layers
    sums = {path: hashlib.sha256(path.read_bytes()).digest() for path in layers}
    script = (
        "for disk in /sys/block/vd*; do mknod /tmp/d b $(tr : ' ' < $disk/dev); echo 0 > $disk/ro; "
        "dd if=/dev/zero of=/tmp/d bs=4k count=4 conv=fsync && echo ${disk##*/} $(cat $disk/ro); rm -f /tmp/d; done; "
        "echo tried; sleep 100000"
    )
    with attacker(victim, script, "--disk", "32m") as identity:
        until(lambda: "tried" in victim.out("logs", identity))
        assert victim.out("run", "--rm", "-m", "96m", victim.image, "echo", "same") == "same\n"
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in layers} == sums


def test_the_agent_and_its_port_are_not_the_guests_to_take(victim: Bounded, until: Until) -> None:
    script = (
        "kill -9 1; kill -STOP 1; for port in /sys/class/virtio-ports/*/dev; do mknod /tmp/p c $(tr : ' ' < $port); "
        "for n in 1 2 3; do head -c 100000 /dev/urandom > /tmp/p; done; rm -f /tmp/p; done; "
        "for fd in /proc/1/fd/*; do timeout 1 head -c 4096 /dev/urandom > $fd; done; echo 0 > /proc/1/oom_score_adj; "
        "echo tried; sleep 100000"
    )
    with attacker(victim, f"({script}) 2>&1") as identity:
        until(
            lambda: (
                b"tried" in victim.run("logs", identity).stdout
                or text(record(victim, identity), "state") != "running"
            )
        )
        if text(record(victim, identity), "state") == "running":
            assert victim.out("exec", identity, "echo", "yes").strip() == "yes"


@pytest.mark.parametrize(
    "script",
    [
        "echo c > /proc/sysrq-trigger",
        "echo b > /proc/sysrq-trigger",
        "reboot -f",
        "dd if=/dev/urandom of=/dev/mem bs=1M count=64",
    ],
)
def test_a_kernel_that_is_brought_down_is_an_end_like_others(
    victim: Bounded, script: str, until: Until
) -> None:
    with attacker(victim, f"{script}; echo alive; sleep 100000") as identity:
        until(
            lambda: (
                text(record(victim, identity), "state") != "running"
                or "alive" in victim.out("logs", identity)
            )
        )
        found = record(victim, identity)
        if text(found, "state") != "running":
            assert text(inner(found, "end"), "reason"), found


def test_a_guest_that_halts_can_be_removed(victim: Bounded) -> None:
    with attacker(victim, "poweroff -f"):
        pass  # the machine is there, and nothing runs in it


def test_the_clock_of_the_log_is_the_hosts(victim: Bounded, until: Until) -> None:
    with attacker(victim, "date -s 2035-01-01; echo late; sleep 100000") as identity:
        until(lambda: "late" in victim.out("logs", identity))
        stamps = [line.split()[0] for line in victim.out("logs", "-t", identity).splitlines()]
        assert all(stamp.startswith(time.strftime("%Y")) for stamp in stamps), stamps


def test_memory_without_end_ends_in_the_guest(victim: Bounded, until: Until) -> None:
    with attacker(victim, "tail /dev/zero") as identity:
        until(lambda: text(record(victim, identity), "state") != "running")
        assert whole(inner(record(victim, identity), "end"), "code") == 137


def test_a_link_in_a_shared_folder_leads_nowhere_on_the_host(victim: Bounded, tmp_path: Path) -> None:
    """Links that change while the host's side looks at them, for as long as the neighbour takes to answer a few times."""
    shared, secret = tmp_path / "shared", tmp_path / "secret"
    shared.mkdir(mode=0o755)
    secret.mkdir(mode=0o755)
    (secret / "key").write_text("the host's own")
    script = (
        f"cd /shared; mkdir d; (while :; do ln -sfn {secret} x; ln -sfn /shared/d x; done) & "
        "for n in $(seq 300); do cat x/key; echo bad > x/new; done 2>/dev/null; echo over; sleep 100000"
    )
    with attacker(victim, script, "-v", f"{shared}:/shared") as identity:
        deadline = time.monotonic() + LIMIT
        while "over" not in (said := victim.out("logs", identity)):
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        assert "the host's own" not in said
        assert [path.name for path in secret.iterdir()] == ["key"]
