"""What talks to the daemon (``docs/api.md``), made to start fast: a socket, JSON, and nothing else.

::

    Daemon.of(home)  ──▶ Api.call("POST", "/v1/sandboxes/web/stop")      a table, or an error of monocore_core.errors
                     ──▶ Api.open("GET", "/v1/events?follow=1")          an answer that goes on
                     ──▶ Api.websocket("/v1/run")                        both ways, without blocking

* :mod:`.daemon`: where a home's daemon is. :mod:`.starting`: starting one, and waiting until it answers.
* :mod:`.api`: requests, and errors as the daemon tells them. :mod:`.connection`: HTTP/1.1 on a Unix socket.
* :mod:`.websocket`: RFC 6455 on the same. :mod:`.tables`: reading answers without believing them.
* :mod:`.orders`: what is sent of attrs values, without their converter.

No module here imports asyncio, attrs or http.client when it is imported: ``monocore ps`` takes less than those do.
"""
