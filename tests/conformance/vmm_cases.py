"""A test class for each broken VMM, of which only its own clause is run; see ``test_vmm_fakes.py``. Not collected by itself."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import VmmProvider
from monocore_core.model.network import GuestNetwork
from monocore_core.testing.contracts.vmm import VmmContract
from tests.conformance.vmm_broken import BROKEN
from tests.conformance.vmm_fakes import FakeVmm, provider


def case(fake: type[FakeVmm]) -> type[VmmContract]:
    class Case(VmmContract):
        @pytest.fixture
        def provider(self) -> VmmProvider[QemuOptions]:
            return provider(fake)

        @pytest.fixture
        def console_bound(self) -> tuple[QemuOptions, int]:
            return QemuOptions(console_limit=65536), 65536

        @pytest.fixture
        def user_network(self) -> GuestNetwork:
            return GuestNetwork("02:4d:43:00:00:01", (IPv4Interface("10.0.2.15/24"),), gateway4="10.0.2.2")

        @pytest.fixture
        def forwarding(self) -> bool:
            return True

    Case.__name__ = Case.__qualname__ = f"Test{fake.__name__}"
    return Case


for each in {*BROKEN.values(), FakeVmm}:
    globals()[f"Test{each.__name__}"] = case(each)
