"""What every network promises, as tests.

A plugin subclasses :class:`NetworkContract` in its own test file::

    import pytest
    from monocore_core.testing.contracts.network import NetworkContract
    from monocore_net_mine import PROVIDER

    class TestContract(NetworkContract):
        @pytest.fixture
        def provider(self) -> NetworkProvider[MineOptions]:
            return PROVIDER

        @pytest.fixture          # optional: other options than the defaults
        def options(self) -> MineOptions: ...

        @pytest.fixture          # optional: a VMM that takes what the network attaches; then a real guest uses it
        def vmm(self) -> VmmProvider[object] | None: ...

A network that keeps nothing on the host for a key (its ``keys`` does not have it) cannot tell a repeat from another request; the
clauses that ask for that are then reported as skipped.
"""

from __future__ import annotations

import pytest

from monocore_core.testing.contracts.network_faults import NetworkFaultClauses
from monocore_core.testing.contracts.network_use import NetworkUseClauses


@pytest.mark.integration
@pytest.mark.asyncio
class NetworkContract(NetworkUseClauses, NetworkFaultClauses):
    """The promises of :mod:`monocore_core.interfaces.network` and :mod:`monocore_core.model.network`."""
