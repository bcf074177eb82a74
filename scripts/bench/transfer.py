"""One sandbox that receives and sends: ``python -m scripts.bench.transfer FOLDER net_tap|bare IMAGE SECONDS``, on the host of the test's world.

``bare`` is a tap that the host routes: no bridge, no packet filter, no address translation.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

from monocore_net_tap import syscalls

from monocore_core.config.values import Backends, Settings
from monocore_core.engine import Engine
from monocore_core.interfaces.provider import Host, Interface, NetworkCapabilities, NetworkProvider, NoOptions
from monocore_core.model.network import (
    AttachmentKind,
    Connection,
    GuestNetwork,
    NetworkRequest,
    NetworkStatus,
    Tap,
)
from monocore_core.model.policy import parse_policy
from monocore_core.model.sandbox import CommandRequest, SandboxRequest
from monocore_core.plugins import Backend, Plugins, discover
from tests.integration.network.outside import SINK, SOURCE
from tests.integration.network.world import BEYOND

_MAC = "02:4d:43:00:00:01"
_TAP = "bare0"


class BareTap:
    """One tap with a route to it."""

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        """Make it."""
        del key, request
        descriptor = await asyncio.to_thread(self._make)
        guest = GuestNetwork(_MAC, (IPv4Interface("10.250.0.2/32"),), gateway4="10.250.0.1")
        return Connection(Tap(_TAP, _MAC, fd=descriptor), guest)

    @staticmethod
    def _make() -> int:
        descriptor = syscalls.open_tap(_TAP)
        for words in (
            f"link set {_TAP} up",
            f"addr replace 10.250.0.1/32 dev {_TAP}",
            f"route replace 10.250.0.2/32 dev {_TAP}",
            f"neigh replace 10.250.0.2 lladdr {_MAC} dev {_TAP} nud permanent",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        return descriptor

    async def detach(self, key: str) -> None:
        """It goes with its descriptor."""

    async def keys(self) -> frozenset[str]:
        """Nothing is kept."""
        return frozenset()

    async def inspect(self, key: str) -> NetworkStatus | None:
        """Nothing is known."""


@asynccontextmanager
async def _create(host: Host, options: NoOptions) -> AsyncGenerator[BareTap]:
    del host, options
    yield BareTap()


BARE = NetworkProvider(
    name="bare",
    api=1,
    summary="a routed tap",
    rank=1,
    capabilities=NetworkCapabilities(AttachmentKind.TAP, descriptors=True),
    options=NoOptions,
    create=_create,
)


async def rates(folder: Path, kind: str, image: str, seconds: str) -> dict[str, float]:
    """Bytes per second, in both directions."""
    plugins = Plugins((Backend(Interface.NETWORK, BARE.name, BARE, "bench", "1"), *discover().backends))
    options = {"net_tap": {"uplink": "veth", "linger": 0.1}}
    settings = Settings(folder / "home", Backends(network=kind), options)
    request = SandboxRequest(image, network=NetworkRequest("", "", parse_policy("all")))
    found: dict[str, float] = {}
    async with Engine.open(settings, plugins=plugins) as engine, engine.sandbox(request) as sandbox:
        for way, word, port in (("download", "pull", SOURCE), ("upload", "push", SINK)):
            process = await sandbox.exec(
                CommandRequest(args=("reach", word, BEYOND["internet"], str(port), seconds))
            )
            total, milliseconds = map(int, (await process.stdout.read(100)).split())
            found[way] = total / milliseconds * 1000
            await process.wait()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(rates(Path(sys.argv[1]), *sys.argv[2:5]))))
