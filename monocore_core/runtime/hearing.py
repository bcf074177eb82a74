"""What backends tell of sandboxes, made into figures and happenings."""

from __future__ import annotations

from monocore_core.metrics.starts import Starts
from monocore_core.model.events import Began, Denied, Event, Listener, Stage
from monocore_core.runtime.happenings import Happenings


def listener_of(happenings: Happenings, starts: Starts) -> Listener:
    """Counts how sandboxes begin, and tells of what they were denied."""

    def listen(event: Event) -> None:
        if isinstance(event, Stage):
            starts.observe(event.name, event.took)
        elif isinstance(event, Began):
            starts.begun[event.how] += 1
        if isinstance(event, Denied):
            refusal = event.refusal
            facts = {
                "destination": refusal.destination,
                "protocol": refusal.protocol,
                "port": refusal.port,
                "rule": refusal.rule,
                "count": refusal.count,
            }
            happenings.tell("denied", event.sandbox, facts=facts)

    return listen
