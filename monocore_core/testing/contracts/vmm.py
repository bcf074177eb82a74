"""What every VMM promises, as tests.

A plugin subclasses :class:`VmmContract` in its own test file::

    import pytest
    from monocore_core.testing.contracts.vmm import VmmContract
    from monocore_vmm_mine import PROVIDER

    class TestContract(VmmContract):
        @pytest.fixture
        def provider(self) -> VmmProvider[MineOptions]:
            return PROVIDER

        @pytest.fixture  # optional: other options than the defaults
        def options(self) -> MineOptions: ...

        @pytest.fixture  # optional: options with a small bound of the console, and that bound
        def console_bound(self) -> tuple[MineOptions, int]: ...

The clauses boot real guests with the real agent, and assume nothing of the VMM: how it finds its kernel, what carries the agent's
channel, whether it has children. All clauses of a class run in one event loop and with one opened VMM, and those which only look
share one guest. A clause for something that the VMM's capabilities do not claim is reported as skipped.
"""

from __future__ import annotations

import pytest

from monocore_core.testing.contracts.vmm_attachments import AttachmentClauses
from monocore_core.testing.contracts.vmm_faults import FaultClauses
from monocore_core.testing.contracts.vmm_inside import InsideClauses
from monocore_core.testing.contracts.vmm_life import LifeClauses
from monocore_core.testing.contracts.vmm_pause import PauseClauses
from monocore_core.testing.contracts.vmm_templates import TemplateClauses


@pytest.mark.integration
@pytest.mark.asyncio(loop_scope="class")
class VmmContract(InsideClauses, AttachmentClauses, LifeClauses, PauseClauses, FaultClauses, TemplateClauses):
    """The promises of :mod:`monocore_core.interfaces.vmm`, :mod:`monocore_core.model.machine` and of the capabilities."""
