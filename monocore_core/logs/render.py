"""Lines as bytes, for a person or a program. Pure.

Nothing is escaped: what a sandbox wrote comes out as it is, so a terminal that shows it must be guarded by who writes to it.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from monocore_core.logs.values import LogLine, LogRecord, Stream


def timestamp(time_ns: int) -> str:
    """RFC 3339, in UTC, with nanoseconds."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def render_raw(line: LogLine | LogRecord) -> bytes:
    """Exactly what was written; a note is a line."""
    if isinstance(line, LogRecord):
        return line.data + b"\n" if line.stream is Stream.NOTE else line.data
    return line.data + b"\n" if line.complete else line.data


def render_text(line: LogLine, *, timestamps: bool = False) -> bytes:
    """The line and a newline, behind its time when that is wanted."""
    prefix = f"{timestamp(line.time_ns)} ".encode() if timestamps else b""
    return prefix + line.data + b"\n"


def render_json(line: LogLine) -> bytes:
    """One JSON object and a newline.

    Keys: ``time``, ``stream``, ``label``, ``offset``, then ``log`` (text without the newline) or, where the bytes are not UTF-8,
    ``base64``; ``partial`` is true where no newline ended the line.
    """
    table: dict[str, object] = {
        "time": timestamp(line.time_ns),
        "stream": line.stream.value,
        "label": line.label,
        "offset": line.offset,
    }
    try:
        table["log"] = line.data.decode()
    except UnicodeDecodeError:
        table["base64"] = base64.b64encode(line.data).decode()
    if not line.complete:
        table["partial"] = True
    return json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
