"""What went wrong on the wire, in plain words: aiohttp's exceptions to ours."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

import aiohttp

from monocore_core.errors import MonocoreError, Unreachable
from monocore_core.reference import Reference
from monocore_oci_registry.retry import Transient

_NETWORK = "check the network connection, the registry's name, and HTTPS_PROXY/NO_PROXY"


def named(error: MonocoreError, reference: Reference) -> MonocoreError:
    """``error``, made to say of which image it is when it only speaks of a host."""
    if not isinstance(error, Unreachable) or str(reference) in error.brief:
        return error
    found = Unreachable(f"image {reference}: {error.brief}", hint=error.hint)
    found.__cause__ = error
    return found


class NoTls(Transient):
    """The other side does not speak TLS."""


@contextmanager
def wire_errors(host: str) -> Generator[None]:
    """Raise what :func:`explain` says of anything that aiohttp raises in the block."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise explain(host, error) from error


def explain(host: str, error: Exception) -> Transient | MonocoreError:
    """An exception of a request to ``host``: transient, or final."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Unreachable(f"the proxy on the way to {host} answered {error.status}", hint=_NETWORK)
    if isinstance(error, aiohttp.ClientSSLError):
        return _no_tls(host, error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(host, error)
    if isinstance(error, TimeoutError):
        absent = isinstance(error, aiohttp.ConnectionTimeoutError)
        return Transient(Unreachable(f"{host} did not answer in time", hint=_NETWORK), absent=absent)
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientConnectionError | OSError):
        return Transient(Unreachable(f"the connection to {host} broke: {_reason(error)}"))
    return Unreachable(f"{host} gave no usable HTTP answer: {_reason(error)}")


def _no_tls(host: str, error: aiohttp.ClientSSLError) -> Transient | MonocoreError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Unreachable(
            f"{host} shows a certificate that is not trusted: {_reason(error.certificate_error)}",
            hint="set plugins.oci_registry.ca to the PEM file of its authority, "
            "or list the registry in plugins.oci_registry.insecure",
        )
    return NoTls(
        Unreachable(
            f"{host} does not speak TLS as we do: {_reason(error)}",
            hint="if it is a plain HTTP registry, list it in plugins.oci_registry.insecure",
        )
    )


def _no_connection(host: str, error: aiohttp.ClientConnectorError) -> Transient:
    cause = error.os_error
    through = "the proxy on the way to " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    if isinstance(cause, socket.gaierror) or isinstance(error, aiohttp.ClientConnectorDNSError):
        brief = f"the name of {through}{host} cannot be resolved ({_reason(cause)})"
    elif isinstance(cause, ConnectionRefusedError):
        brief = f"{through}{host} refused the connection: nothing listens there"
    else:
        brief = f"{through}{host} cannot be reached: {_reason(cause)}"
    return Transient(Unreachable(brief, hint=_NETWORK), absent=True)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return " ".join(str(text).split())[:200] or type(error).__name__
