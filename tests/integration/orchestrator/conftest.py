"""What tests of services share: an image in a store, and an orchestrator whose leftovers are looked for at the end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.oci import Platform
from monocore_core.orchestrator.orchestrator import Orchestrator
from monocore_core.runtime.sandboxes import Sandboxes
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orchestrator") / "home"


@pytest.fixture(scope="package")
def image(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small Linux, in the store already."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)

    async def pull(reference: str) -> None:
        async with Engine.open(Settings(home)) as engine:
            await engine.pull(reference, Platform.host())

    with LocalRegistry(tmp_path_factory.mktemp("registry")) as registry:
        reference = registry.push(busybox_image(), "services/busybox")
        asyncio.run(pull(reference))
    return reference


@pytest_asyncio.fixture
async def orchestrator(home: Path, image: str) -> AsyncIterator[Orchestrator]:
    async with Sandboxes.open(Settings(home)) as sandboxes:
        async with Orchestrator.open(sandboxes) as opened:
            yield opened
            for project in opened.projects():
                await opened.remove(project, force=True)
            assert opened.projects() == ()
        assert sandboxes.all() == []
        engine = await sandboxes.engines.base()
        assert engine.store.leases() == []
        assert list(engine.store.layout.sandboxes.iterdir()) == []
        assert sandboxes.logs.keys() == []
        assert engine.store.database.query("SELECT * FROM restarts") == []
