"""The contract of layer mergers notices a merger that breaks it: a broken one for each clause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.interfaces.provider import LayerMergerProvider, NoOptions
from monocore_core.testing.contracts.layer_merger import LayerMergerContract
from tests.conformance.catching import clauses, table, verdicts
from tests.conformance.merger_broken import BROKEN
from tests.conformance.merger_fakes import Merger, provider


class TestContract(LayerMergerContract):
    """The stranger's merger, unbroken."""

    @pytest.fixture
    def provider(self) -> LayerMergerProvider[NoOptions]:
        return provider(Merger)


def test_every_clause_has_a_broken_fake() -> None:
    assert clauses(LayerMergerContract) == BROKEN.keys()


@pytest.mark.integration
@pytest.mark.slow
def test_every_broken_fake_is_caught(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    fakes = {clause: f"Test{fake.__name__}" for clause, fake in BROKEN.items()}
    found = verdicts("merger_cases.py", fakes, tmp_path / "report.xml")
    record_property(*table("layer mergers", fakes, found))
    assert {name.partition("[")[0] for name in found} == BROKEN.keys()
    wrong = {clause: verdict for clause, verdict in found.items() if verdict.outcome != "failed"}
    assert not wrong, "these broken fakes were not caught"
