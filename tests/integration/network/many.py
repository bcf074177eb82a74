"""Many sandboxes over a veth pair, attached at once and without VMs: ``python -m tests.integration.network.many FOLDER COUNT``.

Runs as root on "the host" of the test's world. Each may reach the host, so that each changes the host's table, while the keeper looks whether the
table is still there after every change. Prints what the keeper said, which is nothing.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from monocore_net_tap import PROVIDER
from monocore_net_tap.options import TapOptions, UplinkKind

from monocore_core.interfaces.provider import Host
from monocore_core.model.network import NetworkRequest
from monocore_core.model.policy import parse_policy


async def main(folder: Path, count: int) -> None:
    state = folder / "many"
    state.mkdir(mode=0o700)
    async with PROVIDER.create(Host(state, folder), TapOptions(UplinkKind.VETH, linger=0.1)) as network:
        policy = parse_policy("all")
        for number in range(count):
            await network.attach(f"k{number}", NetworkRequest("", f"h{number}", policy))
        assert len(await network.keys()) == count
        for number in range(count):
            await network.detach(f"k{number}")
    sys.stdout.write((state / "keeper.log").read_text())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
