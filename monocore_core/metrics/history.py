"""The last samples of one sandbox, in plain arrays: 8 bytes a figure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import attrs

from monocore_core.metrics.rates import Rates, rates
from monocore_core.metrics.values import HostFigures, Sample
from monocore_core.model.guest import GuestStats

#: An hour, one every ten seconds.
CAPACITY = 360
_HOST = tuple(field.name for field in attrs.fields(HostFigures))
_GUEST = tuple(field.name for field in attrs.fields(GuestStats))
_WIDTH = 2 + len(_HOST) + len(_GUEST)
_UNKNOWN = -1
_TOP = (1 << 63) - 1  # what a guest says can be anything


class History:
    """A ring of samples; the oldest goes when it is full. Grows as it is filled."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._rows = array("q")
        self._count = 0
        self._latest: Sample | None = None

    def __len__(self) -> int:
        return min(self._count, self._capacity)

    @property
    def latest(self) -> Sample | None:
        """The newest sample, or None before the first."""
        return self._latest

    @property
    def nbytes(self) -> int:
        """Bytes of the figures."""
        return self._rows.buffer_info()[1] * self._rows.itemsize

    def add(self, sample: Sample) -> None:
        """Keep a sample, the newest."""
        row = array("q", _row(sample))
        at = self._count % self._capacity * _WIDTH
        self._rows[at : at + _WIDTH] = row
        self._count += 1
        self._latest = sample

    def samples(self, since_ns: int = 0) -> Iterator[Sample]:
        """Those not older than ``since_ns``, oldest first."""
        for number in range(self._count - len(self), self._count):
            at = number % self._capacity * _WIDTH
            if self._rows[at] >= since_ns:
                yield _sample(self._rows[at : at + _WIDTH])

    def rates(self, back: int = 1) -> Rates | None:
        """Between the newest sample and the ``back``-th before it; None when there are not so many."""
        if self._latest is None or back >= len(self):
            return None
        at = (self._count - 1 - back) % self._capacity * _WIDTH
        return rates(_sample(self._rows[at : at + _WIDTH]), self._latest)


def _row(sample: Sample) -> list[int]:
    row = [sample.time_ns, sample.guest_time_ns]
    row += [_number(getattr(sample.host, name)) for name in _HOST]
    row += [_number(getattr(sample.guest, name, None)) for name in _GUEST]
    return row


def _number(value: int | None) -> int:
    return _UNKNOWN if value is None else max(0, min(value, _TOP))


def _sample(row: array[int]) -> Sample:
    host = {name: _known(value) for name, value in zip(_HOST, row[2:], strict=False)}
    figures = HostFigures(
        cpu_ns=host["cpu_ns"] or 0,
        rss=host["rss"] or 0,
        threads=host["threads"] or 0,
        pss=host["pss"],
        read_bytes=host["read_bytes"],
        written_bytes=host["written_bytes"],
    )
    guest = GuestStats(*row[2 + len(_HOST) :]) if row[1] else None
    return Sample(row[0], figures, guest, row[1])


def _known(value: int) -> int | None:
    return None if value == _UNKNOWN else value
