"""One pull and one assembly in a process of its own: ``python -m scripts.bench.once REFERENCE HOME``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from monocore_core.assembly import root_key
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import SandboxRequest


async def pull_and_assemble(reference: str, home: Path) -> None:
    """Bring the image into the store of ``home`` and make its root."""
    async with Engine.open(Settings(home=home)) as engine:
        image = await engine.pull(reference, Platform.host())
        plan = engine.plan(SandboxRequest(image=reference), image)
        merger = await engine.backends.layer_merger(plan.layer_merger)
        await merger.merge(root_key(image), image.layers)


if __name__ == "__main__":
    asyncio.run(pull_and_assemble(sys.argv[1], Path(sys.argv[2])))
