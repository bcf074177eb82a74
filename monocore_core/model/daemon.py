"""The daemon's settings, ``[daemon]`` of ``monocore.toml``."""

from __future__ import annotations

from attrs import field, frozen, validators

MIB = 1024 * 1024
DAY = 86400.0


@frozen
class DaemonSettings:
    """How ``monocore serve`` behaves.

    Attributes:
        socket: path of its Unix socket; "" for ``monocore.sock`` in the home folder. A relative one is relative to that folder.
        listen: TCP addresses (``127.0.0.1:3456``) it listens on besides, with tokens.
        tls: whether it speaks TLS there, with a certificate of its own where none is given.
        tls_cert: PEM file of a certificate with its chain, or "".
        tls_key: PEM file of its key.
        tls_client_ca: PEM file; clients need a certificate that one of these has signed. "": they need none.
        hosts: names of this host that clients use, beside its addresses and ``localhost``.
        allow_plain_text: listens without TLS where other hosts can reach it, too.
        idle_exit: seconds without a request and without anything that runs after which it ends; 0 for never.
        log_max_size: bytes of one log file before it is rotated.
        log_retention: seconds that logs are kept; 0 for ever.
        log_total_size: bytes of all logs of one service; 0 for no limit.
        log_format: ``text`` or ``json`` lines of its own log.
        metrics_interval: seconds between two samples of a sandbox.
        metrics_history: seconds that samples are kept.
        traces: URL of a collector of OpenTelemetry that takes OTLP over HTTP; "": there is none.
        stop_grace: seconds that ``serve`` waits for requests in flight when it is told to end.
    """

    socket: str = ""
    listen: tuple[str, ...] = ()
    tls: bool = False
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    hosts: tuple[str, ...] = ()
    allow_plain_text: bool = False
    idle_exit: float = field(default=0.0, validator=validators.ge(0.0))
    log_max_size: int = field(default=10 * MIB, validator=validators.ge(4096))
    log_retention: float = field(default=7 * DAY, validator=validators.ge(0.0))
    log_total_size: int = field(default=100 * MIB, validator=validators.ge(0))
    log_format: str = field(default="text", validator=validators.in_(("text", "json")))
    metrics_interval: float = field(default=10.0, validator=validators.ge(0.1))
    metrics_history: float = field(default=600.0, validator=validators.ge(0.0))
    traces: str = ""
    stop_grace: float = field(default=10.0, validator=validators.ge(0.0))
