"""The network that is always there: none. The guest has its loopback and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.provider import Host, NetworkCapabilities, NetworkProvider, NoOptions
from monocore_core.model.network import AttachmentKind, Connection, NetworkRequest, NetworkStatus, NoNetwork


class NoneNetwork:
    """Implements :class:`~monocore_core.interfaces.network.Network` by doing nothing."""

    async def attach(self, key: str, request: NetworkRequest) -> Connection:
        """No device."""
        del key, request
        return Connection(NoNetwork())

    async def detach(self, key: str) -> None:
        """Nothing to remove."""
        del key

    async def keys(self) -> frozenset[str]:
        """Nothing exists on the host."""
        return frozenset()

    async def inspect(self, key: str) -> NetworkStatus | None:
        """Nothing is known of anyone."""
        del key
        return None


@asynccontextmanager
async def _create(host: Host, options: NoOptions) -> AsyncGenerator[NoneNetwork]:
    del host, options
    yield NoneNetwork()


PROVIDER = NetworkProvider(
    name="none",
    api=1,
    summary="no network device",
    rank=0,
    capabilities=NetworkCapabilities(attachment=AttachmentKind.NONE),
    options=NoOptions,
    create=_create,
)


@hookimpl
def monocore_networks() -> list[NetworkProvider[NoOptions]]:
    """Offer the network ``none``."""
    return [PROVIDER]
