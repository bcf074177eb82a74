"""Parts of a sandbox in one word each, as Docker writes them: ports, tmpfs mounts, resource limits. Pure.

Every refusal is an InvalidInput that shows a right one.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from attrs import evolve

from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.network import Publish
from monocore_core.model.policy import MAX_PORT, Protocol
from monocore_core.notation.quantity import parse_size

#: Ports that one word publishes.
MAX_PUBLISHED = 256
_PUBLISH_HINT = "for example 8080:80, 127.0.0.1:8080:80, 8000-8010:8000-8010 or 53:53/udp"
#: Resource limits by name (getrlimit(2), without ``RLIMIT_``).
RLIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
    "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def parse_tmpfs(text: str) -> TmpfsMount:
    """``PATH`` or ``PATH:size=64m``."""
    path, _, options = text.partition(":")
    if not path.startswith("/") or path.strip("/") == "" or ".." in path.split("/"):
        raise InvalidInput(
            f"{text[:200]!r} does not name an absolute path below /", hint="for example /tmp:size=64m"
        )
    size = 0
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key == "size":
            size = parse_size(value)
        elif option != "rw":
            raise InvalidInput(f"tmpfs option {option[:40]!r} is not supported", hint="supported: size=SIZE")
    return TmpfsMount(path, size)


def parse_publish(text: str) -> tuple[Publish, ...]:
    """Docker's ``-p``: ``[[ADDRESS:]HOST:]GUEST[/tcp|udp]``, ports or ranges of one length; without ``HOST`` a free port is chosen."""
    ports, slash, protocol = text.partition("/")
    if slash and protocol.lower() not in ("tcp", "udp"):
        raise InvalidInput(f"{text[:80]!r}: {protocol[:20]!r} is not tcp or udp", hint=_PUBLISH_HINT)
    rest, _, guest = ports.rpartition(":")
    address, _, host = rest.rpartition(":")
    guests = _port_range(guest, text)
    hosts = _port_range(host, text) if host else range(0)
    if hosts and len(hosts) != len(guests):
        raise InvalidInput(f"{text[:80]!r}: the two ranges have different lengths", hint=_PUBLISH_HINT)
    try:
        where = ip_address(address.removeprefix("[").removesuffix("]")) if address else None
    except ValueError as error:
        raise InvalidInput(
            f"{text[:80]!r}: {address[:60]!r} is not an address", hint=_PUBLISH_HINT
        ) from error
    one = Publish(0, protocol=Protocol(protocol.lower() or "tcp"))
    one = one if where is None else evolve(one, address=where)
    return tuple(
        evolve(one, guest=port, host=hosts[number] if hosts else 0) for number, port in enumerate(guests)
    )


def _port_range(text: str, whole: str) -> range:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text, re.ASCII)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= MAX_PORT or last - first >= MAX_PUBLISHED:
        raise InvalidInput(f"{whole[:80]!r}: {text[:40]!r} is not a port or a range", hint=_PUBLISH_HINT)
    return range(first, last + 1)


def parse_ulimit(text: str) -> Rlimit:
    """``nofile=1024``, ``nofile=1024:4096``, ``core=-1`` or ``unlimited``."""
    name, _, limits = text.partition("=")
    if name not in RLIMITS:
        raise InvalidInput(f"{name[:40]!r} is not a resource limit", hint=f"one of {', '.join(RLIMITS)}")
    parts = limits.split(":")
    values = [-1 if part in ("-1", "unlimited") else _count(part) for part in parts]
    if not 1 <= len(parts) <= 2 or None in values:
        raise InvalidInput(f"{text[:80]!r} is not NAME=SOFT[:HARD]", hint="for example nofile=1024:4096")
    soft, hard = values[0], values[-1]
    assert soft is not None  # noqa: S101 - for the type checkers; tested just above
    assert hard is not None  # noqa: S101
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidInput(f"{text[:80]!r}: the soft limit is above the hard one")
    return Rlimit(name, soft, hard)


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) else None
