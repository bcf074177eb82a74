"""A test class for each broken merger, of which only its own clause is run; see ``test_merger_fakes.py``."""

from __future__ import annotations

import pytest

from monocore_core.interfaces.provider import LayerMergerProvider, NoOptions
from monocore_core.testing.contracts.layer_merger import LayerMergerContract
from tests.conformance.merger_broken import BROKEN
from tests.conformance.merger_fakes import Merger, provider


def case(fake: type[Merger]) -> type[LayerMergerContract]:
    class Case(LayerMergerContract):
        @pytest.fixture
        def provider(self) -> LayerMergerProvider[NoOptions]:
            return provider(fake)

    Case.__name__ = Case.__qualname__ = f"Test{fake.__name__}"
    return Case


for each in set(BROKEN.values()):
    globals()[f"Test{each.__name__}"] = case(each)
