"""Layer tars as a stream of events: :func:`read_layer` reads them, :mod:`.events` says what they are.

Worked example::

    with layer.path.open("rb") as tar:
        for event in read_layer(tar):
            match event:
                case Whiteout(path): ...   # remove it from the lower layers
                case Opaque(path): ...     # remove what the lower layers have below it
                case Entry(): ...          # make it
"""

from monocore_core.layertar.events import Entry, EntryKind, LayerEvent, Opaque, Segment, Whiteout
from monocore_core.layertar.limits import Limits
from monocore_core.layertar.reader import read_layer
from monocore_core.layertar.writer import END, entry_header, padding

__all__ = [
    "END",
    "Entry",
    "EntryKind",
    "LayerEvent",
    "Limits",
    "Opaque",
    "Segment",
    "Whiteout",
    "entry_header",
    "padding",
    "read_layer",
]
