"""The speed of the time-stamp counter is asked of KVM, and nothing is made up where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from monocore_vmm_qemu.tsc import host_tsc_khz


def test_without_kvm_nothing_is_known(tmp_path: Path) -> None:
    assert host_tsc_khz(tmp_path / "kvm") is None
    (tmp_path / "file").touch()
    assert host_tsc_khz(tmp_path / "file") is None, "a file is no KVM"


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs a /dev/kvm that opens")
def test_kvm_knows_within_reason_and_leaves_no_descriptor() -> None:
    host_tsc_khz.cache_clear()
    before = len(list(Path("/proc/self/fd").iterdir()))
    khz = host_tsc_khz()
    assert khz is None or 500_000 < khz < 10_000_000
    assert len(list(Path("/proc/self/fd").iterdir())) == before
