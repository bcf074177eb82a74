"""net_tap keeps what every network promises."""

from __future__ import annotations

import pytest
from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.interfaces.provider import NetworkProvider
from monocore_core.testing.contracts.network import NetworkContract


@pytest.mark.parametrize(
    "uplink", [UplinkKind.SLIRP, UplinkKind.NONE], ids=["slirp4netns", "none"], scope="class"
)
class TestContract(NetworkContract):
    @pytest.fixture
    def provider(self) -> NetworkProvider[TapOptions]:
        return PROVIDER

    @pytest.fixture
    def options(self, uplink: UplinkKind) -> TapOptions:
        return TapOptions(uplink=uplink, linger=1.0)
