"""What ``[plugins.net_tap]`` can say."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network

from attrs import field, frozen, validators

from monocore_core.errors import InvalidInput


class UplinkKind(StrEnum):
    """How the namespace of the sandboxes reaches the world."""

    AUTO = "auto"
    """``veth`` where the host forwards for it, else ``slirp4netns``, else ``pasta``."""
    VETH = "veth"
    """A link to the host, which forwards and masquerades. Needs root, and a host that forwards already."""
    SLIRP = "slirp4netns"
    """An ordinary process that opens the connections. Needs nothing."""
    PASTA = "pasta"
    """The same by another program, for ordinary users alone."""
    NONE = "none"
    """No way out: sandboxes reach one another alone."""


def _pool(_: object, attribute: object, value: str) -> None:
    del attribute
    if not value:
        return
    try:
        pool = IPv4Network(value)
    except ValueError as error:
        raise InvalidInput(f"{value!r} is not an IPv4 network", hint="for example 10.90.0.0/16") from error
    if not 12 <= pool.prefixlen <= 24:
        raise InvalidInput(f"{value}: a pool has a prefix length from 12 to 24")


@frozen
class TapOptions:
    """Options of the backend.

    Attributes:
        uplink: ``auto``, ``veth`` (root only), ``slirp4netns``, ``pasta`` (ordinary users only) or ``none``.
        pool: IPv4 network that sandboxes get their addresses from; "" chooses one that the host does not use.
        mtu: bytes of the largest packet, where a sandbox does not say.
        linger: seconds that the namespace stays after its last sandbox has left.
    """

    uplink: UplinkKind = UplinkKind.AUTO
    pool: str = field(default="", validator=_pool)
    mtu: int = field(default=1500, validator=[validators.ge(1280), validators.le(65520)])
    linger: float = field(default=30.0, validator=[validators.ge(0), validators.le(86400)])
