"""libkrun keeps what every VMM promises, where it can run at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from monocore_vmm_libkrun import PROVIDER
from monocore_vmm_libkrun.options import KrunOptions

from monocore_core.interfaces.provider import VmmProvider
from monocore_core.interfaces.vmm import Confined
from monocore_core.model.security import Layer
from monocore_core.testing.contracts.vmm import VmmContract
from monocore_core.testing.contracts.vmm_base import Looked


@pytest.mark.kvm
class TestContract(VmmContract):
    @pytest.fixture
    def provider(self) -> VmmProvider[KrunOptions]:
        return PROVIDER

    @pytest.fixture
    def console_bound(self) -> tuple[KrunOptions, int]:
        return KrunOptions(console_limit=65536), 65536

    async def test_its_process_is_confined(self, looked: Looked) -> None:
        assert isinstance(looked.machine, Confined)
        assert set(Layer) - {Layer.USER, Layer.PROCESSES} <= looked.machine.layers
        root = Path("/proc", str(looked.machine.pid), "root")
        assert not (root / "etc" / "passwd").exists()
        assert not list((root / "dev").glob("v[ds]*"))
