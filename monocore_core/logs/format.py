"""A segment's bytes. Pure. All numbers are little-endian.

::

    segment = "MCLOG001"  crc32 u32  length u32  JSON of that length      record*
    JSON    = {"number": N, "high_ns": N, "positions": [[label, stream, N], …]}
    record  = crc32 u32  size u32  stream u8  label size u8  "rc"  time_ns u64  offset u64  label  data of that size

A header's checksum is of its JSON; a record's is of everything after it. ``positions`` say how far each stream had been written before
this segment, ``high_ns`` the latest time of an earlier record. A record whose checksum is wrong is one that is not, or not yet, there:
a reader waits before it while the segment is the last one, and goes on to the next one otherwise.
"""

from __future__ import annotations

import json
import struct
from zlib import crc32

from attrs import frozen

from monocore_core.logs.values import LogRecord, Stream

MAX_DATA = 1 << 16
MAX_LABEL = 64
#: Streams whose positions are remembered; those written to longest ago are forgotten.
MAX_POSITIONS = 512
MAX_HEADER = 1 << 17

_MAGIC = b"MCLOG001"
_HEADER = struct.Struct("<8sII")
_RECORD = struct.Struct("<IIBB2sQQ")
_MARK = b"rc"
_STREAMS = {1: Stream.STDOUT, 2: Stream.STDERR, 3: Stream.NOTE}
_NUMBERS = {stream: number for number, stream in _STREAMS.items()}
_TOP = (1 << 64) - 1

MAX_RECORD = _RECORD.size + MAX_LABEL + MAX_DATA
#: Bytes of a record beside its label and data.
OVERHEAD = _RECORD.size


@frozen
class Header:
    """The beginning of a segment; ``positions`` are written longest ago first."""

    number: int
    high_ns: int = 0
    positions: tuple[tuple[str, Stream, int], ...] = ()


def encode_header(header: Header) -> bytes:
    """The first bytes of a segment."""
    positions = [[label, stream.value, offset] for label, stream, offset in header.positions]
    table = {"number": header.number, "high_ns": header.high_ns, "positions": positions}
    body = json.dumps(table, separators=(",", ":")).encode()
    return _HEADER.pack(_MAGIC, crc32(body), len(body)) + body


def decode_header(data: bytes) -> tuple[Header, int] | None:
    """The header at the beginning of ``data`` and its size, or None when it is torn or none."""
    if len(data) < _HEADER.size:
        return None
    magic, checksum, length = _HEADER.unpack_from(data)
    end = _HEADER.size + length
    if magic != _MAGIC or length > MAX_HEADER or len(data) < end:
        return None
    body = data[_HEADER.size : end]
    if crc32(body) != checksum:
        return None
    table = json.loads(body)  # written by encode_header: the checksum says so
    positions = tuple((str(label), Stream(stream), int(at)) for label, stream, at in table["positions"])
    return Header(int(table["number"]), int(table["high_ns"]), positions), end


def encode_record(record: LogRecord) -> bytes:
    """A record's bytes. Its label and data must be within the limits."""
    label = record.label.encode()
    rest = _RECORD.pack(
        0,
        len(record.data),
        _NUMBERS[record.stream],
        len(label),
        _MARK,
        min(max(record.time_ns, 0), _TOP),
        record.offset,
    )[4:]
    checksum = crc32(record.data, crc32(label, crc32(rest)))
    return b"".join((checksum.to_bytes(4, "little"), rest, label, record.data))


def decode_record(data: bytes, at: int) -> tuple[LogRecord, int] | None:
    """The record at ``at`` and where the next one begins; None when it is torn, or not all there."""
    if at + _RECORD.size > len(data):
        return None
    checksum, size, number, label_size, mark, time_ns, offset = _RECORD.unpack_from(data, at)
    start = at + _RECORD.size + label_size
    end = start + size
    if (
        mark != _MARK
        or size > MAX_DATA
        or label_size > MAX_LABEL
        or end > len(data)
        or number not in _STREAMS
    ):
        return None
    if crc32(memoryview(data)[at + 4 : end]) != checksum:
        return None
    label = data[start - label_size : start].decode()
    return LogRecord(_STREAMS[number], time_ns, label, offset, data[start:end]), end
