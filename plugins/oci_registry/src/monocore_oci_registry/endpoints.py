"""Where a registry is: its mirrors, then itself, each with what it is trusted with. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from attrs import frozen

#: What Docker's name stands for.
DOCKER_HUB, DOCKER_HUB_HOST = "docker.io", "registry-1.docker.io"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Where clouds give credentials to whoever asks (AWS over IPv6, Alibaba, Oracle); the others are link-local.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))


@frozen
class Endpoint:
    """One place that serves a registry's repositories.

    Attributes:
        host: host with optional port, to connect to.
        prefix: path before the repository's, ``""`` or ``proxy/hub``.
        schemes: to try in order; the first that works is kept.
        verify: whether its certificate must be good.
        near: loopback or configured as insecure: it may send us to plain HTTP and to local addresses.
        mirror: not the registry itself.
    """

    host: str
    prefix: str = ""
    schemes: tuple[str, ...] = ("https",)
    verify: bool = True
    near: bool = False
    mirror: bool = False

    def repository(self, path: str) -> str:
        """A repository's path at this place."""
        return f"{self.prefix}/{path}" if self.prefix else path


def endpoints(
    domain: str, mirrors: Mapping[str, Iterable[str]], insecure: Iterable[str]
) -> tuple[Endpoint, ...]:
    """Where to ask for images of ``domain``, in order."""
    unsafe = tuple(insecure)
    found = [_mirror(place, unsafe) for place in mirrors.get(domain, ())]
    host = DOCKER_HUB_HOST if domain == DOCKER_HUB else domain
    return (*found, _endpoint(host, unsafe))


def _endpoint(host: str, insecure: tuple[str, ...]) -> Endpoint:
    unsafe = is_listed(host, insecure)
    near = unsafe or is_loopback(host)
    return Endpoint(host, schemes=("https", "http") if near else ("https",), verify=not unsafe, near=near)


def _mirror(place: str, insecure: tuple[str, ...]) -> Endpoint:
    scheme, rest = _split(place)
    host, _, prefix = rest.partition("/")
    found = _endpoint(host, insecure)
    schemes = (scheme,) if scheme else found.schemes
    near = found.near or scheme == "http"
    return Endpoint(host, prefix.strip("/"), schemes, found.verify, near, mirror=True)


def _split(place: str) -> tuple[str, str]:
    scheme, separator, rest = place.partition("://")
    return (scheme, rest) if separator else ("", place)


def check_place(place: str, what: str) -> None:
    """Refuse what is neither a host nor a URL of one.

    Raises:
        ValueError: with a sentence.
    """
    scheme, rest = _split(place)
    try:
        parts = urlsplit(f"//{rest}")
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or scheme not in {"", "http", "https"} or "@" in rest or parts.query or parts.fragment:
        raise ValueError(f"{what} {place!r:.100} is not a host, a host with a port, or an http(s) URL")


def hostname(host: str) -> str:
    """Without port and brackets, lower case."""
    return urlsplit(f"//{host}").hostname or ""


def address_of(name: str) -> Address | None:
    """The address that a host name literally is; an IPv4 address inside an IPv6 one is taken out."""
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    name = hostname(host)
    address = address_of(name)
    return address.is_loopback if address is not None else name == "localhost" or name.endswith(".localhost")


def is_forbidden(address: Address) -> bool:
    """Whether a stranger's redirect may not lead there: this machine, its link, a cloud's metadata service."""
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
    )


def is_listed(host: str, entries: Iterable[str]) -> bool:
    """Whether a host is in a list of hosts, hosts with ports, and networks."""
    name = hostname(host)
    address = address_of(name)
    for entry in entries:
        if "/" in entry and address is not None and _in_network(address, entry):
            return True
        if host.lower() == entry.lower() or (name == hostname(entry) and urlsplit(f"//{entry}").port is None):
            return True
    return False


def _in_network(address: Address, text: str) -> bool:
    try:
        return address in ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
