"""net_tap keeps what every network promises."""

from __future__ import annotations

from typing import Any

import pytest
from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.interfaces.provider import NetworkProvider, VmmProvider
from monocore_core.plugins import discover
from monocore_core.testing.contracts.network import NetworkContract


@pytest.mark.parametrize(
    "uplink", [UplinkKind.SLIRP, UplinkKind.NONE], ids=["slirp4netns", "none"], scope="class"
)
class TestContract(NetworkContract):
    @pytest.fixture
    def provider(self) -> NetworkProvider[TapOptions]:
        return PROVIDER

    @pytest.fixture
    def vmm(self) -> VmmProvider[Any] | None:
        """For a real guest, where QEMU's plugin is installed as well."""
        found = next((each.provider for each in discover().backends if each.name == "vmm_qemu"), None)
        return found if isinstance(found, VmmProvider) else None

    @pytest.fixture
    def options(self, uplink: UplinkKind) -> TapOptions:
        return TapOptions(uplink=uplink, linger=1.0)
