"""layer_erofs keeps what every layer merger promises."""

from __future__ import annotations

import pytest
from monocore_layer_erofs import PROVIDER, ErofsOptions

from monocore_core.interfaces.provider import LayerMergerProvider
from monocore_core.testing.contracts.layer_merger import LayerMergerContract


class TestContract(LayerMergerContract):
    @pytest.fixture
    def provider(self) -> LayerMergerProvider[ErofsOptions]:
        return PROVIDER
