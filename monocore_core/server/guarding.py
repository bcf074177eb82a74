"""Pure decisions about requests from the network: which hosts and origins are taken, and who has failed too often."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from attrs import define, field

#: Protocol of our WebSockets, and what a page puts before its token to offer it as another one.
PROTOCOL, OFFER = "monocore", "monocore-bearer"
#: Failures within so many seconds after which an address is not heard, and addresses that are remembered.
FAILURES, WINDOW, ADDRESSES = 20, 60.0, 4096


def allowed_host(host: str, names: tuple[str, ...]) -> bool:
    """Whether a ``Host`` header is one of ours: an address, ``localhost``, or a name that was configured.

    A page whose name was rebound to our address (DNS rebinding) sends its own name, which is none of these.
    """
    name = _host_name(host)
    if name is None:
        return False
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost" or name in {known.lower() for known in names}
    return True


def allowed_origin(origin: str | None, host: str) -> bool:
    """Whether an ``Origin`` header, which browsers send, is that of a page that we served; programs send none."""
    if origin is None:
        return True
    parts = urlsplit(origin) if origin.isascii() else None
    return parts is not None and parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def bearer(header: str) -> str | None:
    """The token of an ``Authorization`` header (RFC 6750, section 2.1), or None."""
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" and len(token) <= 256 and token.isascii() else None


def offered(header: str) -> str | None:
    """The token among the protocols that a page offers for a WebSocket (RFC 6455, section 11.3.4), whose other headers it cannot choose; or None."""
    for word in header[:4096].split(","):
        name, _, token = word.strip().partition(".")
        if name == OFFER and token:
            return token if len(token) <= 256 and token.isascii() else None
    return None


@define(eq=False)
class Failures:
    """How often each address has failed of late; of IPv6, each network of 64 bits, which is what one host has.

    Attributes:
        most: within ``window``.
        window: seconds.
    """

    most: int = FAILURES
    window: float = WINDOW
    _times: OrderedDict[str, deque[float]] = field(factory=OrderedDict[str, "deque[float]"], init=False)

    def add(self, address: str, now: float) -> None:
        """One more."""
        times = self._times.setdefault(network_of(address), deque(maxlen=self.most))
        times.append(now)
        self._times.move_to_end(network_of(address))
        if len(self._times) > ADDRESSES:
            self._times.popitem(last=False)

    def wait(self, address: str, now: float) -> float:
        """Seconds until it is heard again; 0 when it is."""
        times = self._times.get(network_of(address))
        if times is None or len(times) < self.most:
            return 0.0
        return max(0.0, times[0] + self.window - now)


def network_of(address: str) -> str:
    """Of an address, what one host has: itself; of IPv6 its network of 64 bits."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return str(found)


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    plain = parts.path == "" and parts.query == "" and parts.fragment == "" and parts.username is None
    return parts.hostname if plain else None
