"""The contract of networks notices a network that breaks it: a broken one for each clause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import Host
from monocore_core.testing.contracts.network import NetworkContract
from tests.conformance.catching import clauses, table, verdicts
from tests.conformance.network_broken import BROKEN


def test_every_clause_has_a_broken_fake() -> None:
    assert clauses(NetworkContract) == BROKEN.keys()


@pytest.mark.integration
@pytest.mark.slow
def test_every_broken_fake_is_caught(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    problem = PROVIDER.probe(Host(tmp_path, tmp_path), QemuOptions())
    if problem is not None:
        pytest.skip(f"vmm_qemu: {problem.reason}")
    fakes = {clause: f"Test{fake.__name__}" for clause, fake in BROKEN.items()}
    found = verdicts("network_cases.py", fakes, tmp_path / "report.xml")
    record_property(*table("networks", fakes, found))
    assert found.keys() == BROKEN.keys()
    wrong = {clause: verdict for clause, verdict in found.items() if verdict.outcome != "failed"}
    assert not wrong, "these broken fakes were not caught"
