"""QEMU keeps what every VMM promises."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest
from monocore_vmm_qemu import PROVIDER
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import VmmProvider
from monocore_core.model.network import GuestNetwork
from monocore_core.testing.contracts.vmm import VmmContract


class TestContract(VmmContract):
    @pytest.fixture
    def provider(self) -> VmmProvider[QemuOptions]:
        return PROVIDER

    @pytest.fixture
    def console_bound(self) -> tuple[QemuOptions, int]:
        return QemuOptions(console_limit=65536), 65536

    @pytest.fixture
    def user_network(self) -> GuestNetwork:
        return GuestNetwork("02:4d:43:00:00:01", (IPv4Interface("10.0.2.15/24"),), gateway4="10.0.2.2")

    @pytest.fixture
    def forwarding(self) -> bool:
        return True
