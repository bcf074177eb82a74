"""What is found on hosts of many kinds, and the kernel's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.cgroups import Cgroups, Host, IoLimit, Limit, Limits, Way, WhyNot, survey
from monocore_core.cgroups.group import device_of, io_line
from monocore_core.cgroups.parse import (
    Mount,
    folder_of,
    parse_flat,
    parse_io_stat,
    parse_membership,
    parse_mountinfo,
    parse_number,
    parse_pids,
)
from monocore_core.errors import InvalidInput, StorageError, Unsupported

USER = "user.slice/user-1000.slice"
V2 = {"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.procs": "", "cgroup.subtree_control": ""}


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    """A host by its mounts, our groups, and the groups that there are with their files."""

    def make(
        mounts: list[str],
        member: str,
        groups: dict[str, dict[str, str]],
        *,
        uid: int,
        given: tuple[str, ...] = (),
    ) -> Host:
        top = tmp_path / "cg"
        lines = [f"31 23 0:28 {mount.replace('CG', str(top))}\n" for mount in mounts]
        (tmp_path / "mountinfo").write_text("".join(lines) + "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        (tmp_path / "cgroup").write_text(member)
        for name, files in groups.items():
            (top / name).mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                (top / name / file).write_text(text)
        ours = [top / name for name in given]
        return Host(
            proc=tmp_path,
            uid=uid,
            writable=lambda path: (
                path.exists() and (uid == 0 or any(path.is_relative_to(one) for one in ours))
            ),
            delegated=lambda folder: folder in ours,
        )

    return make


def reasons(found: Host) -> str:
    return " ".join(way.reason for way in survey(found).ways.values() if isinstance(way, WhyNot))


def test_a_user_unit_with_delegation(host: Callable[..., Host], tmp_path: Path) -> None:
    unit = f"{USER}/user@1000.service/app.slice/monocore.service"
    files = V2 | {
        "cgroup.procs": "77\n78\n",
        "cgroup.events": "populated 1\n",
        "cgroup.controllers": "memory pids\n",
    }
    found = host(["/ CG rw - cgroup2 cgroup2 rw"], f"0::/{unit}\n", {unit: files}, uid=1000, given=(unit,))
    ways = survey(found).ways
    assert ways[Limit.PIDS] == ways[Limit.MEMORY] == Way(2, tmp_path / "cg" / unit, leaf=True)
    why = ways[Limit.CPU]
    assert isinstance(why, WhyNot)
    assert "Delegate=cpu" in why.hint
    with pytest.raises(Unsupported, match="no cpu controller"):
        Cgroups("t", found).create("a", Limits(cpu=1))


def test_our_own_leaf_is_not_what_was_delegated(host: Callable[..., Host], tmp_path: Path) -> None:
    leaf = "user.slice/unit/monocore.self"
    unit = V2 | {"cgroup.events": "populated 1\n"}
    groups = {"user.slice/unit": unit, leaf: V2 | {"cgroup.procs": "77\n"}}
    mount = ["/ CG rw - cgroup2 cgroup2 rw"]
    found = host(mount, f"0::/{leaf}\n", groups, uid=1000, given=("user.slice/unit",))
    for again in (found, evolve(found, delegated=nothing)):
        assert survey(again).ways[Limit.CPU] == Way(2, tmp_path / "cg" / "user.slice/unit")


def test_an_application_of_a_users_manager_uses_the_managers_group(
    host: Callable[..., Host], tmp_path: Path
) -> None:
    manager = f"{USER}/user@1000.service"
    files = V2 | {"cgroup.events": "populated 1\n"}
    member = f"0::/{manager}/app.slice/term.scope\n"
    found = host(["/ CG rw - cgroup2 cgroup2 rw"], member, {manager: files}, uid=1000, given=(manager,))
    assert survey(found).ways[Limit.CPU] == Way(2, tmp_path / "cg" / manager)


def test_a_login_session_is_not_delegated(host: Callable[..., Host]) -> None:
    scope = f"{USER}/session-3.scope"
    found = host(["/ CG rw - cgroup2 cgroup2 rw"], f"0::/{scope}\n", {scope: V2}, uid=1000)
    assert "session-3.scope is not delegated to user 1000" in reasons(found)
    assert all(isinstance(way, WhyNot) and "systemd-run" in way.hint for way in survey(found).ways.values())


def test_root_takes_the_top(host: Callable[..., Host], tmp_path: Path) -> None:
    found = host(["/ CG rw - cgroup2 cgroup2 rw"], "0::/system.slice/ssh.service\n", {"": V2}, uid=0)
    assert survey(found).ways[Limit.IO] == Way(2, tmp_path / "cg")


def test_a_container_whose_processes_are_at_its_top(host: Callable[..., Host]) -> None:
    files = V2 | {"cgroup.events": "populated 1\n", "cgroup.procs": "1\n7\n"}
    found = host(["/ CG rw - cgroup2 cgroup2 rw"], "0::/\n", {"": files}, uid=0)
    assert "2 processes are in" in reasons(found)


def nothing(path: Path) -> bool:
    del path
    return False


def test_a_read_only_mount(host: Callable[..., Host]) -> None:
    found = host(["/ CG ro - cgroup2 cgroup2 ro"], "0::/\n", {"": V2}, uid=0)
    found = evolve(found, writable=nothing)
    assert "cannot be written to" in reasons(found)


HYBRID = [
    "/ CG/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "/docker/x CG/memory rw - cgroup cgroup rw,memory",
    "/ CG/unified rw - cgroup2 cgroup2 rw",
]
MEMBER = "4:memory:/docker/x/y\n2:cpu,cpuacct:/z\n1:name=systemd:/\n0::/\n"
GROUPS = {"cpu,cpuacct": {}, "memory": {}, "unified": V2 | {"cgroup.controllers": "hugetlb\n"}}


def test_version_1_beside_a_version_2_without_controllers(host: Callable[..., Host], tmp_path: Path) -> None:
    ways = survey(host(HYBRID, MEMBER, GROUPS, uid=0)).ways
    assert ways[Limit.CPU] == Way(1, tmp_path / "cg" / "cpu,cpuacct")
    assert ways[Limit.MEMORY] == Way(1, tmp_path / "cg" / "memory")
    why = ways[Limit.PIDS]
    assert isinstance(why, WhyNot)
    assert "no pids controller" in why.reason


def test_version_1_is_roots(host: Callable[..., Host]) -> None:
    found = host(HYBRID, MEMBER, GROUPS, uid=1000)
    assert "cgroup v1's cpu controller belongs to root" in reasons(found)
    works = Cgroups("t", found).what_works()
    assert set(works) == set(Limit)
    assert all(works.values())


def test_version_1_limits_no_buffered_writes(host: Callable[..., Host]) -> None:
    found = host(["/ CG/blkio rw - cgroup cgroup rw,blkio"], "1:blkio:/\n", {"blkio": {}}, uid=0)
    assert "page cache" in reasons(found)


def test_nothing_is_mounted(host: Callable[..., Host]) -> None:
    found = host([], "", {}, uid=0)
    assert reasons(found).count("no cgroup file system is mounted") == len(Limit)
    with pytest.raises(Unsupported, match="no cgroup file system"):
        Cgroups("t", found).create("a", Limits())
    assert Cgroups("t", found).sweep(()) == ()


def test_mounts_and_members() -> None:
    line = b"31 23 0:28 /a\\040b /sys/fs/\\134x rw shared:7 - cgroup cgroup rw,cpu,cpuacct\nnonsense\n"
    (mount,) = parse_mountinfo(line)
    assert mount == Mount(Path("/sys/fs/\\x"), "/a b", frozenset({"rw", "cpu", "cpuacct"}), 1)
    assert folder_of(mount, "/a b/c") == Path("/sys/fs/\\x/c")
    assert folder_of(mount, "/a") is None
    assert folder_of(mount, "/a b/../../x") is None
    assert parse_membership(b"2:cpu,cpuacct:/z:y\n0::/w\n") == {"cpu": "/z:y", "cpuacct": "/z:y", "": "/w"}


def test_files_of_groups() -> None:
    assert parse_flat(b"usage_usec 17\nuser_usec 3\nodd\n") == {"usage_usec": 17, "user_usec": 3}
    assert parse_io_stat(b"8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=1 wbytes=2\n") == (11, 22)
    assert (parse_number(b"12\n"), parse_number(b"max\n")) == (12, None)
    assert parse_pids(b"1\n0\n22\n") == (1, 22)


@given(st.binary(max_size=200))
def test_no_file_breaks_a_parser(data: bytes) -> None:
    parse_mountinfo(data)
    parse_membership(data)
    parse_flat(data)
    parse_io_stat(data)
    parse_number(data)
    parse_pids(data)


def test_the_line_and_the_device_of_an_io_limit(tmp_path: Path) -> None:
    limit = IoLimit(path=tmp_path, read_bytes=1000, write_operations=5)
    assert io_line(limit, "8:0") == "8:0 rbps=1000 wbps=max riops=max wiops=5"
    with pytest.raises(StorageError):
        device_of(tmp_path / "none")
    with pytest.raises(Unsupported, match="without a block device"):
        device_of(tmp_path, tmp_path / "no-devices")
    number = tmp_path.stat().st_dev
    disk, links = tmp_path / "devices" / "sdx", tmp_path / "block"
    (disk / "sdx1").mkdir(parents=True)
    (disk / "sdx1" / "partition").write_text("1\n")
    (disk / "dev").write_text("8:16\n")
    links.mkdir()
    (links / f"{number >> 8 & 0xFFF}:{number & 0xFF | number >> 12 & 0xFFF00}").symlink_to(disk / "sdx1")
    assert device_of(tmp_path, links) == "8:16"


@pytest.mark.parametrize("name", ["", "a.b", "../x", "a/b", "x" * 129])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidInput):
        Cgroups("t").find(name)
    with pytest.raises(InvalidInput):
        Cgroups(name)
