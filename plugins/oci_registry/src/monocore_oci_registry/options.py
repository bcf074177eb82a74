"""What ``[plugins.oci_registry]`` may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from attrs import Attribute, field, frozen

from monocore_oci_registry.endpoints import check_place

N = TypeVar("N", int, float)


def _between(low: N, high: N) -> Callable[[object, Attribute[N], N], None]:
    def check(_: object, attribute: Attribute[N], value: N) -> None:
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} is {value:g}, not between {low:g} and {high:g}")

    return check


def _places(_: object, attribute: Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for place in value:
        check_place(place, f"{attribute.name} entry")


def _mirrors(
    _: object, attribute: Attribute[Mapping[str, tuple[str, ...]]], value: Mapping[str, tuple[str, ...]]
) -> None:
    for places in value.values():
        for place in places:
            check_place(place, f"{attribute.name} entry")


@frozen
class RegistryOptions:
    """How registries are reached.

    Attributes:
        mirrors: registry (``docker.io``) to places that are asked first, in order: ``https://host[:port][/prefix]``, ``http://…``, or
            ``host[:port][/prefix]`` (HTTPS).
        insecure: registries (``host``, ``host:port`` or a network such as ``10.1.0.0/16``) whose certificate is not verified, and
            which may speak plain HTTP. Loopback may speak plain HTTP without being named.
        ca: PEM file of authorities that are trusted beside the system's.
        auth_file: the only file to read credentials from (Docker's config.json format); None: Docker's and podman's usual places.
        connections: at most this many to one registry at a time.
        connect_timeout: seconds to connect, TLS included.
        idle_timeout: seconds without a byte until a connection is given up; also for an answer's headers as a whole.
        slow_bytes: bytes per second, below which a connection counts as broken ...
        slow_window: ... when it is slower than that over this many seconds of waiting.
        attempts: tries for one thing without progress.
        deadline: seconds for all tries of one thing without progress.
        max_retry_after: seconds; a server that wants us to wait longer is not waited for.
        helper_timeout: seconds for a ``docker-credential-*`` program.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(factory=dict[str, tuple[str, ...]], validator=_mirrors)
    insecure: tuple[str, ...] = field(default=(), validator=_places)
    ca: Path | None = None
    auth_file: Path | None = None
    connections: int = field(default=6, validator=_between(1, 64))
    connect_timeout: float = field(default=10.0, validator=_between(0.1, 300.0))
    idle_timeout: float = field(default=30.0, validator=_between(0.1, 3600.0))
    slow_bytes: int = field(default=512, validator=_between(0, 1 << 30))
    slow_window: float = field(default=60.0, validator=_between(0.1, 3600.0))
    attempts: int = field(default=6, validator=_between(1, 100))
    deadline: float = field(default=120.0, validator=_between(0.1, 86400.0))
    max_retry_after: float = field(default=60.0, validator=_between(0.0, 3600.0))
    helper_timeout: float = field(default=30.0, validator=_between(0.1, 600.0))
