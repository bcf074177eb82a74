"""What talks to the daemon (``docs/api.md``), made to start fast: a socket, JSON, and nothing else.

::

    Daemon.of(home)  ──▶ Api.call("POST", "/v1/sandboxes/web/stop")      a table, or an error of monocore_core.errors
                     ──▶ Api.open("GET", "/v1/events?follow=1")          an answer that goes on
                     ──▶ Api.websocket("/v1/run")                        both ways, without blocking

* :mod:`.daemon`: where a home's daemon is. :mod:`.starting`: starting one, and waiting until it answers.
* :mod:`.destination`: which daemon is meant, by flags, environment and :mod:`.contexts`; one elsewhere is a :class:`.remote.Remote`.
* :mod:`.api`: requests, and errors as the daemon tells them. :mod:`.connection`: HTTP/1.1 on a socket; :mod:`.tcp` reaches other hosts, :mod:`.tls` makes it secure.
* :mod:`.websocket`: RFC 6455 on the same. :mod:`.tables`: reading answers without believing them.
* :mod:`.orders`: what is sent of attrs values, without their converter.

* :mod:`.sdk`: what programs use: ``from monocore_core.client import Sandbox`` (with asyncio), ``from monocore_core.client.sync import
  Sandbox`` (without).

But for the SDK's, no module here imports asyncio, attrs, http.client or ssl (but :mod:`.tls`) when it is imported: ``monocore ps`` takes less than those do.
What every command imports does without pathlib, and without typing too: a name that only a type checker reads is imported where ``TYPE_CHECKING``,
which is False, says so.
"""

from __future__ import annotations

_OF = {
    "Client": "monocore_core.client.sdk.aio.client",
    "Sandbox": "monocore_core.client.sdk.aio.sandbox",
    "CodeResult": "monocore_core.client.sdk.code",
    "CommandFailed": "monocore_core.client.sdk.values",
    "Result": "monocore_core.client.sdk.values",
    "tls_context": "monocore_core.client.tls",
}


def __getattr__(name: str) -> object:
    """The SDK's names, imported when they are first used: what this package is otherwise for must start fast."""
    if name not in _OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only programs that use the SDK need it

    found: object = getattr(importlib.import_module(_OF[name]), name)
    globals()[name] = found
    return found
