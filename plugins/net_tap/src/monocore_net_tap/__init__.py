"""Tap devices in a network namespace of monocore's own: every packet of a sandbox is judged outside of it.

```
 host                     │ namespaces of one monocore home, held by a process that does nothing else (holder)
                          │
 engine ── Unix socket ── keeper ── bridge g1 ── tap t1 ── VM      a bridge for each group, a tap for each VM,
                          │  │        │     └─── tap t2 ── VM      no frame from tap to tap: all is routed
                          │  │      nftables: ours alone           (ruleset, policies)
                          │  └── resolver at the gateway's address (names, resolver)
                 uplink ──┼── up0     root: veth, and the host forwards; else slirp4netns, pasta   (uplink)
                          ╪── relay   published ports that no packet filter forwards   (ports)
```

The same for root and for an ordinary user, but for the uplink. The host sees one interface and one nft table, or nothing at all.

Modules, from the bottom: ``options members syscalls`` → ``allocate nft policies ruleset links`` → ``holder records ports uplink choice`` → ``ground`` (one step after
another) → ``resolver names journal denials`` → ``setting serving keeper`` (the process); ``messages client network`` are the core's side.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.network import Network
from monocore_core.interfaces.provider import Host, NetworkCapabilities, NetworkProvider, Problem
from monocore_core.model.network import AttachmentKind, NetworkFeature
from monocore_net_tap.options import TapOptions

CAPABILITIES = NetworkCapabilities(
    attachment=AttachmentKind.TAP, features=frozenset(NetworkFeature), descriptors=True
)


def _probe(host: Host, options: TapOptions) -> Problem | None:
    from monocore_net_tap.probe import probe  # noqa: PLC0415 - listing plugins imports no more than it shows

    return probe(host, options)


def _create(host: Host, options: TapOptions) -> AbstractAsyncContextManager[Network]:
    from monocore_net_tap.network import open_network  # noqa: PLC0415

    return open_network(host, options, CAPABILITIES)


PROVIDER = NetworkProvider(
    name="net_tap",
    api=1,
    summary="taps in a namespace of monocore's own, with policies",
    rank=60,
    capabilities=CAPABILITIES,
    options=TapOptions,
    probe=_probe,
    create=_create,
)


@hookimpl
def monocore_networks() -> list[NetworkProvider[TapOptions]]:
    """Offer the network ``net_tap``."""
    return [PROVIDER]
