"""When to try again, and how long to wait before. The only place that retries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from attrs import define, field

from monocore_core.errors import MonocoreError
from monocore_core.model.events import Listener, Retrying
from monocore_oci_registry.options import RegistryOptions

T = TypeVar("T")

#: Seconds before the second try, and the most between two.
FIRST_DELAY, MAX_DELAY = 0.4, 15.0
#: Tries when nobody is there at all (refused, no such name): it is rarely a matter of waiting.
CONNECT_ATTEMPTS = 3
#: Bytes of a blob that count as progress.
PROGRESS = 64 * 1024


class Transient(Exception):
    """A failure that may pass.

    Args:
        error: what to raise when it does not.
        retry_after: seconds that the server asked for.
        absent: nobody answered at all.
    """

    def __init__(
        self, error: MonocoreError, *, retry_after: float | None = None, absent: bool = False
    ) -> None:
        super().__init__(error.brief)
        self.error = error
        self.retry_after = retry_after
        self.absent = absent


@define(eq=False)
class Patience:
    """Tries for one thing, e.g. a manifest or a blob.

    Attributes:
        what: names it in events.
        options: bounds.
        emit: receives :class:`~monocore_core.model.events.Retrying`.
    """

    what: str
    options: RegistryOptions
    emit: Listener
    _failures: int = field(default=0, init=False)
    _since: float = field(factory=time.monotonic, init=False)

    def progressed(self) -> None:
        """Something useful came: begin to count anew."""
        self._failures, self._since = 0, time.monotonic()

    async def pause(self, failure: Transient) -> None:
        """Wait before the next try.

        Raises:
            MonocoreError: the failure's, when there is to be none.
        """
        self._failures += 1
        allowed = min(self.options.attempts, CONNECT_ATTEMPTS) if failure.absent else self.options.attempts
        ceiling = min(MAX_DELAY, FIRST_DELAY * 2.0 ** (self._failures - 1))
        delay = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter
        if failure.retry_after is not None:
            delay = max(delay, failure.retry_after)
        left = self._since + self.options.deadline - time.monotonic()
        too_long = failure.retry_after is not None and failure.retry_after > self.options.max_retry_after
        if self._failures >= allowed or delay > left or too_long:
            raise failure.error from failure
        self.emit(Retrying(self.what, failure.error.brief, delay))
        await asyncio.sleep(delay)


async def persist(patience: Patience, call: Callable[[], Awaitable[T]]) -> T:
    """Call until it succeeds, fails for good, or patience ends."""
    while True:
        try:
            return await call()
        except Transient as failure:
            await patience.pause(failure)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds or a date); None when it says nothing."""
    text = (value or "").strip()[:64]
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: of a time zone with many digits
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())
