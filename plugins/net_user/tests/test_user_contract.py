"""net_user keeps what every network promises."""

from __future__ import annotations

import pytest
from monocore_net_user import PROVIDER
from monocore_net_user.options import UserOptions

from monocore_core.interfaces.provider import NetworkProvider
from monocore_core.testing.contracts.network import NetworkContract


class TestContract(NetworkContract):
    @pytest.fixture
    def provider(self) -> NetworkProvider[UserOptions]:
        return PROVIDER
