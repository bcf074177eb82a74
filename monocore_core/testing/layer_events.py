"""What every consumer of a layer's events counts on, whatever tar they come from."""

from __future__ import annotations

from collections.abc import Sequence

from monocore_core.layertar import Entry, LayerEvent


def check_events(events: Sequence[LayerEvent], size: int) -> None:
    """Judge the events of a tar of ``size`` bytes.

    Raises:
        AssertionError: a path is not clean, a number is out of range, or data is outside the tar.
    """
    for event in events:
        parts = event.path.split(b"/") if event.path else []
        assert {b"", b".", b".."}.isdisjoint(parts)
        assert b"\0" not in event.path
        assert len(event.path) <= 4096
        if isinstance(event, Entry):
            assert not any(part.startswith(b".wh.") for part in parts)
            assert 0 <= event.mode <= 0o7777
            _check_data(event, size)


def _check_data(entry: Entry, size: int) -> None:
    runs = [(entry.position, entry.size)]
    if entry.segments is not None:
        runs = [(segment.position, segment.length) for segment in entry.segments]
        end = 0
        for segment in entry.segments:
            assert end <= segment.offset
            end = segment.offset + segment.length
        assert end <= entry.size
    assert all(position >= 0 and position + length <= size for position, length in runs if length)
