"""A test class for each broken network, of which only its own clause is run; see ``test_network_fakes.py``."""

from __future__ import annotations

import pytest
from monocore_vmm_qemu import PROVIDER as QEMU
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import NetworkProvider, NoOptions, VmmProvider
from monocore_core.testing.contracts.network import NetworkContract
from tests.conformance.network_broken import BROKEN
from tests.conformance.network_fakes import UserNetwork, provider


def case(fake: type[UserNetwork]) -> type[NetworkContract]:
    class Case(NetworkContract):
        @pytest.fixture
        def provider(self) -> NetworkProvider[NoOptions]:
            return provider(fake)

        @pytest.fixture
        def vmm(self) -> VmmProvider[QemuOptions]:
            return QEMU

    Case.__name__ = Case.__qualname__ = f"Test{fake.__name__}"
    return Case


for each in set(BROKEN.values()):
    globals()[f"Test{each.__name__}"] = case(each)
