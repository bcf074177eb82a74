"""Folders for guests: the command lines of both virtiofsd, and the namespace that shows what is to be shown."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from monocore_vmm_qemu import CAPABILITIES, enter
from monocore_vmm_qemu.confine_shares import SHARES, jail_of_shares
from monocore_vmm_qemu.options import QemuOptions
from monocore_vmm_qemu.probe import narrow, shares_problem
from monocore_vmm_qemu.virtiofsd import Flavour, arguments, find_virtiofsd, flavour, flavour_of

from monocore_core.errors import MachineError
from monocore_core.interfaces.provider import Host
from monocore_core.jail import JailError, launcher, start
from monocore_core.model.machine import Share
from monocore_core.model.rootfs import RootKind

C_HELP = "usage: virtiofsd [options]\n    -o source=PATH             shared directory tree\n"
RUST_HELP = "Usage: virtiofsd [OPTIONS]\n      --shared-dir <SHARED_DIR>  Shared directory path\n"


def test_the_two_programs_are_told_apart() -> None:
    assert flavour_of(C_HELP) is Flavour.C
    assert flavour_of(RUST_HELP) is Flavour.RUST
    assert flavour_of("usage: something else") is None


def test_each_gets_its_own_words() -> None:
    c = arguments(Flavour.C, Path("/stage"), 7)
    assert "--fd=7" in c
    assert "source=/stage" in c
    rust = arguments(Flavour.RUST, Path("/stage"), 7)
    assert "--fd=7" in rust
    assert "--shared-dir=/stage" in rust
    for words in (c, rust):
        assert any("modcaps=-mknod" in word for word in words)


def test_the_installed_one_is_known() -> None:
    program = find_virtiofsd(None)
    if program is None:
        pytest.skip("needs virtiofsd (Debian package qemu-system-common)")
    assert flavour(program, program.stat().st_mtime_ns) in Flavour


def test_a_program_that_is_no_virtiofsd(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no virtiofsd"):
        flavour(Path("/bin/true"), 0)
    with pytest.raises(MachineError, match="cannot be run"):
        flavour(tmp_path / "missing", 0)
    assert find_virtiofsd(tmp_path / "missing") is None


Entered = Callable[[Sequence[Share], str], "subprocess.CompletedProcess[str]"]


def _unjailed(stage: Path, shares: Sequence[Share], script: str) -> subprocess.CompletedProcess[str]:
    asked = [
        {
            "tag": share.tag,
            "path": str(share.path),
            "readonly": share.readonly,
            "hidden": [str(path) for path in share.hidden],
        }
        for share in shares
    ]
    request = json.dumps({"stage": str(stage), "shares": asked})
    argv = [sys.executable, "-I", "-S", enter.__file__, request, "/bin/sh", "-c", f"cd {stage} && {script}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


async def _jailed(
    program: Path, stage: Path, shares: Sequence[Share], script: str
) -> subprocess.CompletedProcess[str]:
    jail = jail_of_shares(shares, Path("/usr/bin/env"), stage, rooted=os.geteuid() == 0)
    tools = evolve(
        jail, calls=None, shown=(*jail.shown, Path("/usr/bin")), links={**jail.links, Path("/bin"): "usr/bin"}
    )
    pipes = [os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) for _ in range(2)]
    (out, write_out), (err, write_err) = pipes
    argv = ["/bin/sh", "-c", f"exec >/proc/self/fd/{write_out}; cd {SHARES} && {script}"]
    try:
        jailed = await start(program, tools, argv, stderr=write_err, inherit=(write_out,), tied=True)
        await jailed.process.wait()
        return subprocess.CompletedProcess(argv, jailed.process.status or 0, _said(out), _said(err))
    except JailError as error:
        return subprocess.CompletedProcess(argv, enter.FAILED, "", error.brief)
    finally:
        for end in (end for pipe in pipes for end in pipe):
            os.close(end)


def _said(pipe: int) -> str:
    try:
        return os.read(pipe, 65536).decode()
    except BlockingIOError:
        return ""


@pytest.fixture(params=["jailed", "unjailed"])
def entered(request: pytest.FixtureRequest, stage: Path, kernel_cache: Path) -> Entered:
    """What a shell sees where virtiofsd would run; or a reason why this user can have no such place."""

    def enter_it(shares: Sequence[Share], script: str) -> subprocess.CompletedProcess[str]:
        if request.param == "unjailed":
            return _unjailed(stage, shares, script)
        return asyncio.run(_jailed(launcher(kernel_cache), stage, shares, script))

    done = enter_it([], "true")
    if done.returncode and os.geteuid():
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return enter_it


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """An empty folder, by a path without links."""
    path = Path(os.path.realpath(tmp_path)) / "stage"
    path.mkdir()
    return path


def test_folders_and_files_are_shown_and_nothing_stays(stage: Path, entered: Entered) -> None:
    base = stage.parent
    (base / "data").mkdir()
    (base / "data/a").write_text("A")
    (base / "conf").write_text("C")
    done = entered(
        [
            Share("data", base / "data", readonly=False),
            Share("fixed", base / "data", readonly=True),
            Share("conf", base / "conf", readonly=True),
        ],
        "cat data/a fixed/a conf/file; echo N >data/new; echo X >fixed/x; echo X >conf/file; ls",
    )
    assert done.stdout == "AACconf\ndata\nfixed\n"
    assert done.stderr.count("Read-only file system") == 2
    assert (base / "data/new").read_text() == "N\n"
    assert (base / "conf").read_text() == "C"
    assert not any(stage.iterdir())


def test_what_is_hidden_is_an_empty_folder(stage: Path, entered: Entered) -> None:
    base = stage.parent
    (base / "data/secret/deep").mkdir(parents=True)
    (base / "data/open").write_text("")
    share = Share("data", base / "data", readonly=False, hidden=(base / "data/secret",))
    done = entered([share], "ls data; ls data/secret; mkdir data/secret/new")
    assert done.stdout == "open\nsecret\n"
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    assert [path.name for path in (base / "data/secret").iterdir()] == ["deep"]


@pytest.mark.parametrize("where", ["link", "link/below", "missing"])
def test_a_link_on_the_way_is_not_followed(stage: Path, entered: Entered, where: str) -> None:
    base = stage.parent
    (base / "target/below").mkdir(parents=True)
    (base / "link").symlink_to("target")
    done = entered([Share("data", base / where, readonly=True)], "echo shown")
    assert done.returncode == enter.FAILED
    assert str(base / where) in done.stderr
    assert done.stdout == ""


def test_device_nodes_do_not_work_in_a_share(entered: Entered) -> None:
    share = Share("dev", Path("/dev"), readonly=False)
    done = entered([share], "cat dev/null")
    assert "Permission denied" in done.stderr


def test_without_virtiofsd_only_disks_are_promised(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path)
    left = narrow(host, QemuOptions(virtiofsd=tmp_path / "missing"), CAPABILITIES)
    assert (left.roots, left.shares) == (frozenset({RootKind.DISK}), False)
    assert "virtiofsd" in left.lacks[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root needs no user namespace")
def test_a_setting_that_forbids_user_namespaces_is_named(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user/max_user_namespaces").write_text("0\n")
    program = tmp_path / "virtiofsd"
    program.write_text("")
    program.chmod(0o755)
    problem = shares_problem(QemuOptions(virtiofsd=program), tmp_path)
    assert problem is not None
    assert "user.max_user_namespaces is 0" in problem


#: As a user with a supplementary group, in the namespace that enter.py makes for one: what the kernel and virtiofsd say before and after.
AS_A_USER = """
import os, runpy, subprocess, sys
enter = runpy.run_path(sys.argv[1])
os.setgroups([4000])
os.setgid(4000)
os.setuid(4000)
enter["_LIBC"].prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: whoever changed their user may not write /proc/self else
enter["become_root"]()
try:
    os.setgroups([])
except PermissionError:
    print("refused")
enter["keep_groups"]()
os.setgroups([])
print(len(os.getgroups()), flush=True)
os.execv(sys.argv[2], [sys.argv[2], "--help"])
"""


@pytest.mark.root
def test_a_users_groups_are_no_obstacle() -> None:
    program = find_virtiofsd(None)
    if program is None:
        pytest.skip("needs virtiofsd (Debian package qemu-system-common)")
    words = [sys.executable, "-I", "-S", "-c", AS_A_USER, enter.__file__, os.fspath(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[:2] == ["refused", "1"], done.stderr
    assert "setgroups" not in done.stderr
    assert flavour_of(done.stdout + done.stderr) is flavour(program, program.stat().st_mtime_ns)


def test_the_one_in_c_is_known_by_what_it_tells_a_user() -> None:
    assert flavour_of("setgroups() failed with error=1:Operation not permitted\n") is Flavour.C
