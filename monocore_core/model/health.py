"""When a service counts as healthy, and what becomes of it when it ends: probes and restart policies."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen, validators


@frozen
class ExecProbe:
    """A command in the sandbox that must end with 0.

    Attributes:
        command: its words; not run by a shell.
    """

    command: tuple[str, ...] = field(validator=validators.min_len(1))


@frozen
class HttpProbe:
    """A GET request that must be answered with a status from ``status_min`` to ``status_max``, both included.

    Attributes:
        port: in the guest.
        path: with its leading slash and query.
    """

    port: int = field(validator=[validators.ge(1), validators.le(65535)])
    path: str = field(default="/", validator=validators.matches_re(r"/[\x21-\x7e]*"))
    status_min: int = 200
    status_max: int = 399


@frozen
class TcpProbe:
    """A connection that must be accepted.

    Attributes:
        port: in the guest.
    """

    port: int = field(validator=[validators.ge(1), validators.le(65535)])


Probe = ExecProbe | HttpProbe | TcpProbe


@frozen
class Healthcheck:
    """How a running service is asked whether it works. All times are seconds.

    Attributes:
        probe: what is done; always from inside the sandbox's network, never from the host's.
        interval: between the end of one probe and the next.
        timeout: after which one probe has failed.
        retries: failures in a row after which a service is unhealthy.
        start_period: after the start, in which failures do not count; a first success ends it.
        start_interval: between probes in the start period.
    """

    probe: Probe
    interval: float = field(default=10.0, validator=validators.gt(0.0))
    timeout: float = field(default=5.0, validator=validators.gt(0.0))
    retries: int = field(default=3, validator=validators.ge(1))
    start_period: float = field(default=0.0, validator=validators.ge(0.0))
    start_interval: float = field(default=1.0, validator=validators.gt(0.0))


class RestartKind(StrEnum):
    """When a service that ended is started again."""

    NO = "no"
    """Never."""
    ON_FAILURE = "on-failure"
    """When it ended with another status than 0, by a signal, or with its machine."""
    ALWAYS = "always"
    """However it ended, unless ``down`` stopped it; also when the daemon starts."""
    UNLESS_STOPPED = "unless-stopped"
    """However it ended; but not when the daemon starts, if a person had stopped it."""


@frozen
class Backoff:
    """How long to wait before a restart; seconds.

    The n-th restart in a row waits ``min(initial * factor ** (n - 1), maximum)``, made longer or shorter at random by at most
    the share ``jitter`` of it. A run of at least ``reset_after`` begins the count anew.
    """

    initial: float = field(default=0.5, validator=validators.ge(0.0))
    maximum: float = field(default=60.0, validator=validators.ge(0.0))
    factor: float = field(default=2.0, validator=validators.ge(1.0))
    jitter: float = field(default=0.1, validator=[validators.ge(0.0), validators.le(1.0)])
    reset_after: float = field(default=30.0, validator=validators.ge(0.0))

    def delay(self, restarts: int, random: float) -> float:
        """Seconds to wait.

        Args:
            restarts: how many there were in a row, at least 0.
            random: from 0 to 1, drawn by the caller.
        """
        # 2**64 seconds are longer than any maximum: a crash loop of years must not overflow
        plain = min(self.initial * self.factor ** min(restarts, 64), self.maximum)
        return plain * (1.0 + self.jitter * (2.0 * random - 1.0))


@frozen
class RestartPolicy:
    """What becomes of a service that ended.

    Attributes:
        kind: when it is started again.
        attempts: restarts in a row after which ``on-failure`` gives up; 0 for never.
        backoff: how long to wait before each.
        unhealthy: whether an unhealthy service is stopped, and then treated as one that failed.
    """

    kind: RestartKind = RestartKind.NO
    attempts: int = field(default=0, validator=validators.ge(0))
    backoff: Backoff = Backoff()
    unhealthy: bool = True

    def __str__(self) -> str:
        return f"{self.kind}:{self.attempts}" if self.attempts else self.kind.value
