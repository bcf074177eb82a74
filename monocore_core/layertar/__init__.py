"""Layer tars as a stream of events; see :mod:`.events` for what they are."""

from monocore_core.layertar.events import Entry, EntryKind, LayerEvent, Opaque, Segment, Whiteout

__all__ = ["Entry", "EntryKind", "LayerEvent", "Opaque", "Segment", "Whiteout"]
