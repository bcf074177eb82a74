"""layer_copy keeps what every layer merger promises."""

from __future__ import annotations

import pytest
from monocore_layer_copy import PRIVATE, SHARED, CopyOptions, PrivateOptions

from monocore_core.interfaces.provider import LayerMergerProvider
from monocore_core.testing.contracts.layer_merger import LayerMergerContract


class TestShared(LayerMergerContract):
    @pytest.fixture
    def provider(self) -> LayerMergerProvider[CopyOptions]:
        return SHARED


class TestPrivate(LayerMergerContract):
    @pytest.fixture
    def provider(self) -> LayerMergerProvider[PrivateOptions]:
        return PRIVATE

    @pytest.fixture
    def options(self) -> PrivateOptions:
        return PrivateOptions(keep_bases=0.0)
