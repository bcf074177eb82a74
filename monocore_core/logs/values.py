"""The values of the log store."""

from __future__ import annotations

import re
from enum import StrEnum

from attrs import field, frozen
from attrs.validators import ge, optional

from monocore_core.errors import InvalidInput

_LABEL = re.compile(r"[A-Za-z0-9._:/@#-]{1,64}\Z")


class Stream(StrEnum):
    """Where a record comes from."""

    STDOUT = "stdout"
    STDERR = "stderr"
    NOTE = "note"
    """Said by the system about the log or the process, a sentence; not output."""


def check_label(label: str) -> str:
    """``label``, when it can be the label of a record.

    Raises:
        InvalidInput: it cannot.
    """
    if not _LABEL.match(label):
        raise InvalidInput(
            f"{label[:80]!r} is not a label of output", hint="1 to 64 of A-Z a-z 0-9 . _ : / @ # -"
        )
    return label


@frozen
class LogRecord:
    """Bytes that were appended at once.

    Attributes:
        stream: which.
        time_ns: wall clock when they arrived, nanoseconds since the epoch.
        label: of the run, or the process, that wrote them.
        offset: of the first byte in that process's stream; 0 for notes.
        data: at most 64 KiB; empty where the stream ended.
    """

    stream: Stream
    time_ns: int
    label: str
    offset: int
    data: bytes


@frozen
class LogLine:
    """One line, put together from the records of one stream.

    Attributes:
        stream: which.
        time_ns: when its first byte arrived.
        label: of the run, or the process.
        offset: of its first byte in that process's stream.
        data: without the newline.
        complete: whether a newline ended it. A line longer than 64 KiB is given in pieces, all but the last incomplete.
    """

    stream: Stream
    time_ns: int
    label: str
    offset: int
    data: bytes
    complete: bool = True


@frozen(kw_only=True)
class LogQuery:
    """What is to be read.

    Attributes:
        streams: which; notes are only given when they are asked for.
        label: of one run or process alone, or None for all.
        since_ns: nothing that arrived earlier.
        until_ns: nothing that arrived later.
        tail: no more than the last so many lines of what there is; None for everything.
    """

    streams: frozenset[Stream] = frozenset({Stream.STDOUT, Stream.STDERR})
    label: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = field(default=None, validator=optional(ge(0)))

    def takes(self, record: LogRecord) -> bool:
        """Whether a record is asked for."""
        return (
            record.stream in self.streams
            and (self.label is None or record.label == self.label)
            and (self.since_ns is None or record.time_ns >= self.since_ns)
            and (self.until_ns is None or record.time_ns <= self.until_ns)
        )


@frozen(kw_only=True)
class LogLimits:
    """How much is kept.

    Attributes:
        segment_bytes: when a new segment is begun. A writer reads its last segment when it opens: about 30 ms per MiB of short lines.
        sandbox_bytes: of one sandbox's log; its oldest segments go. At least two segments are kept.
        total_bytes: of all logs, held by :meth:`~monocore_core.logs.store.LogStore.sweep`.
        age: seconds after which output is removed, by the sweep; never before, and at most an eighth later plus the sweep's interval.
    """

    segment_bytes: int = field(default=1 << 20, validator=ge(1 << 12))
    sandbox_bytes: int = field(default=64 << 20, validator=ge(1 << 13))
    total_bytes: int = field(default=2 << 30, validator=ge(1 << 13))
    age: float = field(default=7 * 86400.0, validator=ge(1.0))


@frozen
class Swept:
    """What a sweep removed."""

    segments: int = 0
    size: int = 0
