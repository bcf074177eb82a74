"""What is shown of sandboxes, events and samples: values to plain data. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from monocore_core.model.events import Event
from monocore_core.model.guest import ProcessExit
from monocore_core.model.record import SandboxEnd, SandboxRecord
from monocore_core.orchestrator.labels import IMAGE
from monocore_core.runtime.happenings import Happening
from monocore_core.serde import unstructure


def view(record: SandboxRecord) -> dict[str, object]:
    """A sandbox, as docs/api.md has it."""
    order, image = record.order, record.image
    config = image.config if image is not None else None
    words: list[str] = []
    if order.command is not None:
        entry = (
            order.command.entrypoint
            if order.command.entrypoint is not None
            else (config and config.entrypoint) or ()
        )
        words = [
            *entry,
            *(
                order.command.args
                or (() if order.command.entrypoint is not None else (config and config.cmd) or ())
            ),
        ]
    request = order.sandbox
    return {
        "id": record.id,
        "name": record.name,
        "image": order.labels.get(IMAGE, request.image),
        "digest": str(image.digest) if image is not None else None,
        "command": words,
        "state": record.state.value,
        "created": record.created,
        "started": record.started or None,
        "ended": record.end.time if record.end is not None else None,
        "runs": record.runs,
        "pid": record.pid,
        "jail": [layer.value for layer in record.layers],
        "ports": list(record.ports),
        "labels": dict(order.labels),
        "end": view_of_end(record.end) if record.end is not None else None,
        "requested": record.requested,
        "stages": [list(stage) for stage in record.stages],
        "began": record.began,
        "began_reason": record.began_reason,
        "placement": attrs.asdict(record.placement) if record.placement is not None else None,
        "vcpus": request.vcpus,
        "memory": request.memory,
        "disk": request.disk,
    }


def whole_view(record: SandboxRecord) -> dict[str, object]:
    """A sandbox with everything that was asked."""
    return {**view(record), "order": unstructure(record.order)}


def view_of_end(end: SandboxEnd) -> dict[str, object]:
    """How a run ended."""
    return {"code": end.code, "reason": end.reason.value, "detail": end.detail, "time": end.time}


def view_of_exit(ended: ProcessExit) -> dict[str, object]:
    """How a further process ended."""
    reason = "oom" if ended.oom else "exited"
    return {"code": ended.code, "reason": reason, "detail": "", "oom": ended.oom}


def view_of_event(event: Event) -> dict[str, object]:
    """Progress of a pull or a start."""
    plain = unstructure(event)
    fields: Mapping[str, object] = plain if isinstance(plain, dict) else {}  # pyright: ignore[reportUnknownVariableType] - cattrs' tables
    return {"type": type(event).__name__, **fields}


def view_of_happening(happening: Happening) -> dict[str, object]:
    """Something that happened."""
    return {
        "number": happening.number,
        "time": happening.time,
        "kind": happening.kind,
        "sandbox": happening.sandbox,
        "name": happening.name,
        "facts": dict(happening.facts),
    }
