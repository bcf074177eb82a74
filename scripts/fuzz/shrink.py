"""Makes a corpus small: keeps the inputs that take a branch which no other takes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import FrameType
from typing import Any

from scripts.fuzz.target import Target

Arc = tuple[str, int, int]


def files_of(target: Target) -> frozenset[str]:
    """The source files that a target covers."""
    return frozenset(str(import_module(name).__file__) for name in target.covers)


def arcs_of(target: Target, data: bytes, files: frozenset[str]) -> frozenset[Arc]:
    """The steps from line to line that an input takes in these files."""
    arcs: set[Arc] = set()

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        del event, argument
        name = frame.f_code.co_filename
        if name not in files:
            return None
        last = frame.f_code.co_firstlineno

        def step(frame: FrameType, event: str, argument: object) -> Any:
            del argument
            nonlocal last
            if event == "line":
                arcs.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            elif event == "return":
                arcs.add((name, last, -1))
            return step

        return step

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        target.run(data)
    finally:
        sys.settrace(before)
    return frozenset(arcs)


def needed(taken: Mapping[bytes, frozenset[Arc]]) -> list[bytes]:
    """The inputs without which a step would not be taken; short ones rather than long ones."""
    chosen: list[bytes] = []
    seen: set[Arc] = set()
    for data in sorted(taken, key=lambda one: (len(one), one)):
        if not taken[data] <= seen:
            chosen.append(data)
            seen |= taken[data]
    counts = Counter(arc for data in chosen for arc in taken[data])
    for data in list(chosen):
        if all(counts[arc] > 1 for arc in taken[data]):
            chosen.remove(data)
            counts.subtract(taken[data])
    return chosen


def shrunk(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """The inputs that are needed, of these."""
    files = files_of(target)
    return needed({data: arcs_of(target, data, files) for data in set(inputs)})
