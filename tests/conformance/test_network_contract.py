"""Networks that keep the contract: the core's own, which is none, and a stranger's."""

from __future__ import annotations

import pytest
from monocore_vmm_qemu import PROVIDER as QEMU
from monocore_vmm_qemu.options import QemuOptions

from monocore_core.interfaces.provider import NetworkProvider, NoOptions, VmmProvider
from monocore_core.nonetwork import PROVIDER as NONE
from monocore_core.testing.contracts.network import NetworkContract
from tests.conformance.network_fakes import UserNetwork
from tests.conformance.network_fakes import provider as stranger


class TestNone(NetworkContract):
    @pytest.fixture
    def provider(self) -> NetworkProvider[NoOptions]:
        return NONE

    @pytest.fixture
    def vmm(self) -> VmmProvider[QemuOptions]:
        return QEMU


class TestStranger(NetworkContract):
    @pytest.fixture
    def provider(self) -> NetworkProvider[NoOptions]:
        return stranger(UserNetwork)

    @pytest.fixture
    def vmm(self) -> VmmProvider[QemuOptions]:
        return QEMU
