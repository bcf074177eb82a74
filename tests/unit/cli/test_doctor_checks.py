import os
import stat
from pathlib import Path

import pytest

from monocore_core.cgroups import Host
from monocore_core.cli import doctor_checks as checks
from monocore_core.cli.doctor_checks import State
from monocore_core.interfaces.provider import Interface, MergerCapabilities, Problem
from monocore_core.model.rootfs import RootKind
from monocore_core.model.security import JailMode, Layer, Security
from monocore_core.plan.fit import Offer
from monocore_core.plugins import PluginProblem, Plugins


@pytest.mark.parametrize(
    ("modules", "state", "word"),
    [
        (("kvm", "kvm_intel"), State.OK, "kvm_intel"),
        (("kvm", "kvm_amd"), State.OK, "kvm_amd"),
        (("kvm", "kvm_pvm"), State.NOTE, "cannot run ordinary guest kernels"),
    ],
)
def test_that_kvm_opens_is_not_enough(
    tmp_path: Path, modules: tuple[str, ...], state: State, word: str
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    for name in modules:
        (tmp_path / "module" / name).mkdir(parents=True)
    check = checks.kvm(device, tmp_path / "module")
    assert check.state is state
    assert word in check.detail


def test_no_kvm_is_no_failure_but_worth_a_hint(tmp_path: Path) -> None:
    check = checks.kvm(tmp_path / "nix", tmp_path)
    assert check.state is State.NOTE
    assert "modprobe" in check.hint


def test_qemu_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = checks.qemu()
    assert check.state is State.NOTE
    assert "not in PATH" in check.detail
    assert "install" in check.hint


@pytest.mark.parametrize(
    ("script", "state"), [("echo QEMU emulator version 9.9", State.OK), ("exit 3", State.FAIL)]
)
def test_qemu_says_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, state: State
) -> None:
    for name in ("qemu-system-x86_64", "qemu-system-aarch64"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    check = checks.qemu()
    assert check.state is state
    assert ("version 9.9" in check.detail) is (state is State.OK)


def test_which_limits_are_enforced(tmp_path: Path) -> None:
    found = checks.limits(Host(proc=tmp_path))
    assert [check.name for check in found] == ["limit cpu", "limit memory", "limit pids", "limit io"]
    assert {check.state for check in found} == {State.NOTE}
    assert found[0].detail == "not enforced: no cgroup file system is mounted"
    (tmp_path / "mountinfo").write_text(f"31 23 0:28 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "cg").mkdir()
    (tmp_path / "cg" / "cgroup.controllers").write_text("cpu memory\n")
    found = checks.limits(Host(proc=tmp_path, uid=0, writable=lambda path: True))
    assert [check.state for check in found] == [State.OK, State.OK, State.NOTE, State.NOTE]
    assert found[0].detail == f"by cgroup v2 in {tmp_path}/cg"
    assert "no pids controller" in found[2].detail


def test_user_namespaces_that_are_switched_off(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "max_user_namespaces").write_text("0\n")
    check = checks.user_namespaces(tmp_path)
    assert check.state is State.NOTE
    assert "sysctl" in check.hint


def test_the_home_need_not_exist_yet(tmp_path: Path) -> None:
    assert str(tmp_path / "a" / "b") in checks.disk_space(tmp_path / "a" / "b").detail


def test_tun_that_is_missing(tmp_path: Path) -> None:
    assert checks.tun(tmp_path / "tun").state is State.NOTE


@pytest.mark.needs("gcc", "gcc")
def test_the_jail_is_made_and_its_layers_told() -> None:
    found = checks.jail(Security(jail=JailMode.AUTO))
    assert found.state in {State.OK, State.NOTE}
    assert {"capabilities", "limits", "seccomp"} <= set(found.detail.split(" (")[0].split(", "))
    off = checks.jail(Security(jail=JailMode.OFF))
    assert off.state is State.NOTE
    assert "switched off" in off.detail


def test_a_layer_that_is_required_and_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "monocore_core.jail.survey.survey", lambda: (frozenset({Layer.SECCOMP}), "no namespaces")
    )
    found = checks.jail(Security(jail=JailMode.AUTO, require=(Layer.FILES, Layer.SECCOMP)))
    assert found.state is State.FAIL
    assert found.detail == "seccomp (no namespaces); required: files"


def test_every_check_of_this_host_says_something(tmp_path: Path) -> None:
    found = checks.host_checks(tmp_path, Security())
    assert len({check.name for check in found}) == len(found) >= 8
    assert all(check.detail for check in found)
    assert not list(tmp_path.iterdir())


def test_backends_say_what_their_probe_said() -> None:
    offer = Offer(
        Interface.LAYER_MERGER,
        "x",
        1,
        MergerCapabilities(RootKind.DISK),
        "a summary",
        Problem("no y", "get y"),
    )
    (check,) = checks.backend_checks((offer,))
    assert (check.state, check.detail, check.hint) == (State.NOTE, "no y", "get y")


def test_broken_plugins_and_missing_interfaces_are_failures() -> None:
    found = checks.plugin_checks(Plugins((), (PluginProblem("p", "dist", "import failed", "reinstall"),)))
    assert found[0].detail == "import failed"
    assert {check.name for check in found[1:]} == {interface.label for interface in Interface}
    assert {check.state for check in found} == {State.FAIL}
