"""What happens to services and projects: told to whoever waits for an operation, and to everyone who follows the happenings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from monocore_core.model.events import Event
from monocore_core.runtime.happenings import Happenings

_NOTHING: Mapping[str, object] = {}


@frozen
class ServiceEvent:
    """Something happened to a project, one of its services, or one instance.

    Attributes:
        kind: ``project-up``, ``project-down``, ``project-failed``, ``service-kept``, ``service-starting``, ``service-started``,
            ``service-healthy``, ``service-unhealthy``, ``service-completed``, ``service-restarting``, ``service-failed``,
            ``service-stopping``, ``service-stopped``, ``service-replaced``, ``service-removed``, ``service-orphaned``.
        project: its name.
        service: its name, or "".
        instance: name of the sandbox, or "".
        sandbox: id of the sandbox, or "".
        text: a sentence with more, or "".
        facts: plain data.
    """

    kind: str
    project: str
    service: str = ""
    instance: str = ""
    sandbox: str = ""
    text: str = ""
    facts: Mapping[str, object] = field(default=_NOTHING)


#: What one operation tells: of services, and of pulls and starts on the way.
Progress = ServiceEvent | Event
Told = Callable[[Progress], None]


def nobody(event: Progress) -> None:
    """Does nothing with ``event``."""
    del event


def tell(happenings: Happenings, event: ServiceEvent) -> None:
    """Tell everyone."""
    facts = {"project": event.project, "service": event.service, "text": event.text, **event.facts}
    name = event.instance or event.service or event.project
    happenings.tell(
        event.kind, event.sandbox, name, {key: value for key, value in facts.items() if value != ""}
    )
