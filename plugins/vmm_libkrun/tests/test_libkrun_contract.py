"""libkrun keeps what every VMM promises, where it can run at all."""

from __future__ import annotations

import pytest
from monocore_vmm_libkrun import PROVIDER
from monocore_vmm_libkrun.options import KrunOptions

from monocore_core.interfaces.provider import VmmProvider
from monocore_core.testing.contracts.vmm import VmmContract


@pytest.mark.kvm
class TestContract(VmmContract):
    @pytest.fixture
    def provider(self) -> VmmProvider[KrunOptions]:
        return PROVIDER

    @pytest.fixture
    def console_bound(self) -> tuple[KrunOptions, int]:
        return KrunOptions(console_limit=65536), 65536
