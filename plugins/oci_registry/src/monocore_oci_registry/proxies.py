"""Which proxy a URL goes through, by the environment's rules as Go's programs (Docker, skopeo) read them. Pure.

``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, each also in lower case: golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from monocore_oci_registry.endpoints import address_of, is_listed, is_loopback


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None for a direct connection. Loopback is never reached through a proxy."""
    parts = urlsplit(url)
    value = _variable(environ, f"{parts.scheme}_proxy")
    if not value or is_loopback(parts.netloc) or _excluded(parts.hostname or "", parts.port, environ):
        return None
    return value if "://" in value else f"http://{value}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _excluded(name: str, port: int | None, environ: Mapping[str, str]) -> bool:
    entries = [entry.strip().lower() for entry in _variable(environ, "no_proxy").split(",")]
    return any(_matches(name, port, entry) for entry in entries if entry)


def _matches(name: str, port: int | None, entry: str) -> bool:
    if entry == "*":
        return True
    host, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (host.endswith("]") or ":" not in host):
        if int(number) != port:
            return False
        entry = host
    if address_of(name) is not None:
        return is_listed(f"[{name}]" if ":" in name else name, (entry,)) or entry.strip("[]") == name
    suffix = entry.removeprefix("*")
    return name == entry if not suffix else name == suffix.removeprefix(".") or name.endswith(_dotted(suffix))


def _dotted(suffix: str) -> str:
    return suffix if suffix.startswith(".") else f".{suffix}"
