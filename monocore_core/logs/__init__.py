"""What sandboxes write: kept on disk by one writer each, read by any number, across crashes and rotations.

A sandbox's log is a folder of segments (``0000000001.log``…). A segment is a header, which says how far each stream had been
written when it was begun, and records, each with a checksum (:mod:`.format`). One writer at a time appends; nothing is synced, so
what ``kill -9`` leaves is at worst a torn last record, which the next writer cuts. What the guest's agent sends again after that is
recognised by its offsets.

Worked example::

    store = LogStore(home / "logs", LogLimits())
    with store.open("web-1") as log:
        start = log.written("1", Stream.STDOUT)           # ask the agent for its output from there
        log.append("1", Stream.STDOUT, start, b"hello", time_ns=time.time_ns())
    for line in store.reader("web-1").lines(LogQuery(tail=10)):
        print(render_json(line))
    store.sweep(time.time_ns())                           # now and then: what is too old, or too much
"""

from monocore_core.logs.reader import LogReader
from monocore_core.logs.render import render_json, render_raw, render_text
from monocore_core.logs.store import LogStore
from monocore_core.logs.values import LogLimits, LogLine, LogQuery, LogRecord, Stream, Swept
from monocore_core.logs.writer import LogWriter

__all__ = [
    "LogLimits",
    "LogLine",
    "LogQuery",
    "LogReader",
    "LogRecord",
    "LogStore",
    "LogWriter",
    "Stream",
    "Swept",
    "render_json",
    "render_raw",
    "render_text",
]
