"""Events cross the daemon's socket and are what they were: nothing that somebody in this process is told of is lost to who asks the daemon."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from monocore_core.cli.told import event_of
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
from monocore_core.server.views import view_of_event

ONE, TWO = Digest.parse("sha256:" + "1" * 64), Digest.parse("sha256:" + "2" * 64)
EVENTS: tuple[Event, ...] = (
    Began("s", copied=True),
    Began("s", copied=False, reason="templates are off"),
    Denied("s", Refusal("10.0.0.1", "tcp", 80, "deny private", 1.5, 2)),
    Published("s", ("0.0.0.0:8080->80/tcp",)),
    Resolved("alpine", ONE, ((ONE, 5), (TWO, 6)), known=True),
    LayerProgress(ONE, 1, 2),
    LayerDone(ONE, TWO, existed=True),
    Retrying("layer", "reset", 0.5),
    Waiting("layer"),
    Stage("s", "boot", 0.25),
    Warned("the disk is nearly full"),
)


def test_every_kind_of_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert event_of(json.loads(json.dumps(view_of_event(event)))) == event


def test_what_is_not_known_is_nothing() -> None:
    assert event_of({"type": "Other"}) is None
    assert event_of({"type": "LayerProgress", "digest": "no"}) is None
