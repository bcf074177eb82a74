"""Whether a running service works, by what its probes have said so far. Pure."""

from __future__ import annotations

from enum import StrEnum

from attrs import evolve, frozen

from monocore_core.model.health import Healthcheck


class HealthState(StrEnum):
    """What is known of a service's health."""

    NONE = "none"
    """Nobody asks: it has no health check, or does not run."""
    STARTING = "starting"
    """It has not answered well yet, and still has time to."""
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@frozen
class Health:
    """What the probes of one run have said.

    Attributes:
        state: what follows from it.
        failures: in a row that count.
        why: what the latest failure was, a sentence.
    """

    state: HealthState = HealthState.STARTING
    failures: int = 0
    why: str = ""

    def after(self, check: Healthcheck, problem: str | None, age: float) -> Health:
        """What is known after one more probe.

        Args:
            check: how it is asked.
            problem: what was wrong, a sentence; None: it answered well.
            age: seconds from the start of the run to the probe's end.
        """
        if problem is None:
            return Health(HealthState.HEALTHY)
        if self.in_start_period(check, age):
            return evolve(self, why=problem)
        failures = self.failures + 1
        state = HealthState.UNHEALTHY if failures >= check.retries else self.state
        return Health(state, failures, problem)

    def pause(self, check: Healthcheck, age: float) -> float:
        """Seconds until the next probe."""
        if self.in_start_period(check, age):
            return min(check.start_interval, max(check.start_period - age, 0.01))
        return check.interval

    def in_start_period(self, check: Healthcheck, age: float) -> bool:
        """Whether failures do not count yet."""
        return self.state is HealthState.STARTING and age < check.start_period
