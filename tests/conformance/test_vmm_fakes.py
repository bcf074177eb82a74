"""The contract of VMMs notices a VMM that breaks it: a broken one for each clause, around the real QEMU."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import Host
from monocore_core.testing.contracts.vmm import VmmContract
from tests.conformance.catching import clauses, table, verdicts
from tests.conformance.vmm_broken import BROKEN

#: That the wrapper itself is no fault, on clauses of every kind.
_SAMPLE = (
    "test_boots_a_raw_disk",
    "test_waiting_by_many_and_again_gives_one_value",
    "test_a_background_machine_outlives_a_starter_that_is_killed",
    "test_a_start_cancelled_at_any_await_leaves_nothing",
)


def test_every_clause_has_a_broken_fake() -> None:
    assert clauses(VmmContract) == BROKEN.keys()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    problem = PROVIDER.probe(Host(tmp_path, tmp_path), QemuOptions())
    if problem is not None:
        pytest.skip(f"vmm_qemu: {problem.reason}")
    return tmp_path / "report.xml"


@pytest.mark.integration
@pytest.mark.slow
def test_a_wrapper_that_passes_on_keeps_the_contract(report: Path) -> None:
    found = verdicts("vmm_cases.py", dict.fromkeys(_SAMPLE, "TestFakeVmm"), report)
    assert {clause: verdict.outcome for clause, verdict in found.items()} == dict.fromkeys(_SAMPLE, "passed")


@pytest.mark.integration
@pytest.mark.slow
def test_every_broken_fake_is_caught(report: Path, record_property: Callable[[str, object], None]) -> None:
    fakes = {clause: f"Test{fake.__name__}" for clause, fake in BROKEN.items()}
    found = verdicts("vmm_cases.py", fakes, report)
    record_property(*table("VMMs", fakes, found))
    assert found.keys() == BROKEN.keys()
    expected = ("failed", "skipped") if os.geteuid() else ("failed",)  # some clauses need root
    wrong = {clause: verdict for clause, verdict in found.items() if verdict.outcome not in expected}
    assert not wrong, "these broken fakes were not caught"
