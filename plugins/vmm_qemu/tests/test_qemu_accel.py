"""The verdict on KVM, with a root folder that stands for the host's."""

from __future__ import annotations

from pathlib import Path

import pytest
from monocore_vmm_qemu.accel import Trust, Verdicts, decide
from monocore_vmm_qemu.options import AccelChoice

from monocore_core.errors import Unsupported
from monocore_core.vmmkit.kvm import kvm_problem


def root(folder: Path, *modules: str, device: bool = True) -> Path:
    (folder / "dev").mkdir()
    if device:
        (folder / "dev/kvm").touch()
    for module in modules:
        (folder / "sys/module" / module).mkdir(parents=True)
    return folder


def test_pvm_alone_is_no_kvm(tmp_path: Path) -> None:
    assert "kvm_pvm" in (kvm_problem(root(tmp_path, "kvm", "kvm_pvm"), "amd64") or "")


@pytest.mark.parametrize("module", ["kvm_amd", "kvm_intel"])
def test_hardware_modules_are_trusted(tmp_path: Path, module: str) -> None:
    assert kvm_problem(root(tmp_path, "kvm", module), "amd64") is None


def test_nothing_loaded_and_no_device(tmp_path: Path) -> None:
    assert "neither" in (kvm_problem(root(tmp_path), "amd64") or "")
    (tmp_path / "dev/kvm").unlink()
    assert kvm_problem(tmp_path, "amd64") == "/dev/kvm does not exist"


def test_arm_has_no_module_of_its_own(tmp_path: Path) -> None:
    assert kvm_problem(root(tmp_path), "arm64") is None


@pytest.mark.parametrize(
    ("choice", "problem", "trust", "kvm"),
    [
        (AccelChoice.AUTO, None, Trust.UNKNOWN, True),
        (AccelChoice.AUTO, None, Trust.WORKS, True),
        (AccelChoice.AUTO, None, Trust.FAILS, False),
        (AccelChoice.AUTO, "no", Trust.WORKS, False),
        (AccelChoice.TCG, None, Trust.WORKS, False),
        (AccelChoice.KVM, None, Trust.FAILS, True),
    ],
)
def test_decision(choice: AccelChoice, problem: str | None, trust: Trust, *, kvm: bool) -> None:
    assert decide(choice, problem, trust) is kvm


def test_demanded_kvm_that_cannot_work() -> None:
    with pytest.raises(Unsupported, match="no device"):
        decide(AccelChoice.KVM, "no device", Trust.UNKNOWN)


def test_verdicts_last_for_one_boot_and_one_kernel(tmp_path: Path) -> None:
    path = tmp_path / "kvm.json"
    Verdicts(path, "boot-1").remember("k1", Trust.FAILS)
    Verdicts(path, "boot-1").remember("k2", Trust.WORKS)
    again = Verdicts(path, "boot-1")
    assert (again.trust("k1"), again.trust("k2"), again.trust("k3")) == (
        Trust.FAILS,
        Trust.WORKS,
        Trust.UNKNOWN,
    )
    assert Verdicts(path, "boot-2").trust("k1") is Trust.UNKNOWN


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"boot_id": "b", "kernels": [1]}', '{"boot_id":"b","kernels":{"k":7}}']
)
def test_damaged_verdicts_count_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kvm.json"
    path.write_text(text)
    verdicts = Verdicts(path, "b")
    assert verdicts.trust("k") is Trust.UNKNOWN
    verdicts.remember("k", Trust.WORKS)
    assert verdicts.trust("k") is Trust.WORKS


def test_many_verdicts_do_not_grow_the_file(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "kvm.json", "b")
    for number in range(100):
        verdicts.remember(f"{number:064}", Trust.WORKS)
    assert (tmp_path / "kvm.json").stat().st_size < 4096
    assert verdicts.trust(f"{99:064}") is Trust.WORKS
