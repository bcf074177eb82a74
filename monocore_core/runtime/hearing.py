"""What backends tell of sandboxes, made into figures and happenings; and of what is nobody's, for the daemon's log."""

from __future__ import annotations

import logging

from monocore_core.metrics.starts import Starts
from monocore_core.model.events import Began, Denied, Event, Listener, Stage, Warned
from monocore_core.runtime.happenings import Happenings

log = logging.getLogger("monocore.backends")


def listener_of(happenings: Happenings, starts: Starts) -> Listener:
    """Counts how sandboxes begin, tells of what they were denied, and logs what they are warned of."""

    def listen(event: Event) -> None:
        if isinstance(event, Stage):
            starts.observe(event.name, event.took)
        elif isinstance(event, Began):
            starts.begun[event.how] += 1
        elif isinstance(event, Warned):
            log.warning("%s", event.text)
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
