"""The contract of image sources notices a source that breaks it: a broken one for each clause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from monocore_core.interfaces.provider import ImageSourceProvider, NoOptions
from monocore_core.testing.contracts.image_source import ImageSourceContract
from tests.conformance.catching import clauses, table, verdicts
from tests.conformance.source_broken import BROKEN
from tests.conformance.source_cases import LayoutContract
from tests.conformance.source_fakes import Source, provider


class TestContract(LayoutContract):
    """The stranger's source, unbroken."""

    @pytest.fixture
    def provider(self) -> ImageSourceProvider[NoOptions]:
        return provider(Source)


def test_every_clause_has_a_broken_fake() -> None:
    assert clauses(ImageSourceContract) == BROKEN.keys()


@pytest.mark.integration
@pytest.mark.slow
def test_every_broken_fake_is_caught(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    fakes = {clause: f"Test{fake.__name__}" for clause, fake in BROKEN.items()}
    found = verdicts("source_cases.py", fakes, tmp_path / "report.xml")
    record_property(*table("image sources", fakes, found))
    assert {name.partition("[")[0] for name in found} == BROKEN.keys()
    wrong = {clause: verdict for clause, verdict in found.items() if verdict.outcome != "failed"}
    assert not wrong, "these broken fakes were not caught"
