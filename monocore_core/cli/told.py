"""Events of a start as the daemon tells them, back to the values that :mod:`.progress` shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from monocore_core.client.tables import Table, flag, inner, items, number, text, texts, whole
from monocore_core.errors import MonocoreError
from monocore_core.model.digest import Digest
from monocore_core.model.events import (
    Began,
    Denied,
    Event,
    LayerDone,
    LayerProgress,
    Published,
    Resolved,
    Retrying,
    Stage,
    Waiting,
    Warned,
)
from monocore_core.model.network import Refusal


def event_of(said: Table) -> Event | None:
    """The event; None for one that this version does not know, or that makes no sense."""
    make = _MAKERS.get(text(said, "type"))
    try:
        return None if make is None else make(said)
    except MonocoreError:
        return None


def _resolved(said: Table) -> Event:
    layers = [items(layer) for layer in items(said.get("layers"))]
    return Resolved(
        text(said, "reference"),
        Digest.parse(text(said, "digest")),
        tuple((Digest.parse(str(layer[0])), _int(layer[1])) for layer in layers if len(layer) == 2),
        said.get("known") is True,
    )


def _denied(said: Table) -> Event:
    what = inner(said, "refusal")
    refusal = Refusal(
        destination=text(what, "destination"),
        protocol=text(what, "protocol"),
        port=whole(what, "port"),
        rule=text(what, "rule"),
        time=number(what, "time"),
        count=whole(what, "count"),
    )
    return Denied(text(said, "sandbox"), refusal)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


_MAKERS: Mapping[str, Callable[[Table], Event]] = {
    "Began": lambda said: Began(
        text(said, "sandbox"),
        copied=flag(said, "copied"),
        reason=text(said, "reason"),
        spare=flag(said, "spare"),
    ),
    "Resolved": _resolved,
    "LayerProgress": lambda said: LayerProgress(
        Digest.parse(text(said, "digest")), whole(said, "received"), whole(said, "total")
    ),
    "LayerDone": lambda said: LayerDone(
        Digest.parse(text(said, "digest")), Digest.parse(text(said, "diff_id")), flag(said, "existed")
    ),
    "Retrying": lambda said: Retrying(text(said, "what"), text(said, "reason"), number(said, "delay")),
    "Waiting": lambda said: Waiting(text(said, "what")),
    "Stage": lambda said: Stage(
        text(said, "sandbox"), text(said, "name"), number(said, "seconds"), number(said, "took")
    ),
    "Warned": lambda said: Warned(text(said, "text")),
    "Published": lambda said: Published(text(said, "sandbox"), tuple(texts(said, "ports"))),
    "Denied": _denied,
}
