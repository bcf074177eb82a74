"""User-mode networking by the VMM itself: no privileges, no helper, and only what it can truly enforce."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host, NetworkCapabilities, NetworkProvider
from monocore_core.model.network import AttachmentKind, NetworkFeature
from monocore_net_user.options import UserOptions

CAPABILITIES = NetworkCapabilities(
    attachment=AttachmentKind.USER, features=frozenset({NetworkFeature.PUBLISH, NetworkFeature.ISOLATE})
)


def _create(host: Host, options: UserOptions) -> AbstractAsyncContextManager[Network]:
    from monocore_net_user.network import open_network  # noqa: PLC0415 - listing plugins imports no more than it shows

    return open_network(host, options, CAPABILITIES)


PROVIDER = NetworkProvider(
    name="net_user",
    api=1,
    summary="the VMM's own user-mode network; no privileges, no rules",
    rank=20,
    capabilities=CAPABILITIES,
    options=UserOptions,
    create=_create,
)


@hookimpl
def monocore_networks() -> list[NetworkProvider[UserOptions]]:
    """Offer the network ``net_user``."""
    return [PROVIDER]
