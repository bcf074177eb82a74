"""A log against a model: random appends, duplicates, gaps, rotations, readers, and crashes that cut the files anywhere."""

from __future__ import annotations

import random
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monocore_core.logs import LogLimits, LogLine, LogQuery, LogRecord, LogStore, LogWriter, Stream
from monocore_core.logs.segments import numbers, path_of

LIMITS = LogLimits(segment_bytes=4096, sandbox_bytes=4 * 4096)
KEYS = [(label, stream) for label in ("1", "2") for stream in (Stream.STDOUT, Stream.STDERR)]
#: What each stream says, all along: any record can be compared with it.
SAID = {key: random.Random(repr(key)).randbytes(200_000).replace(b"\x0b", b"\n") for key in KEYS}
EVERYTHING = LogQuery(streams=frozenset(Stream))


class Logs(RuleBasedStateMachine):
    """An agent that knows what was acknowledged, a writer that is killed, and readers."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="monocore-logs-"))
        self.time = 1
        self.acknowledged = dict.fromkeys(KEYS, 0)
        self.gaps = 0
        self.open()

    def open(self) -> None:
        self.store = LogStore(self.folder, LIMITS)
        self.log: LogWriter = self.store.open("one")

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.log.close()
            shutil.rmtree(self.folder)

    @rule(key=st.sampled_from(KEYS), size=st.integers(1, 3000), back=st.integers(0, 3000))
    def append(self, key: tuple[str, Stream], size: int, back: int) -> None:
        """Output goes on, or is sent again."""
        label, stream = key
        position = self.log.written(label, stream)
        offset = max(0, position - back)
        data = SAID[key][offset : offset + size]
        self.time += 1
        after = self.log.append(label, stream, offset, data, time_ns=self.time)
        assert after == max(position, offset + len(data)) == self.log.written(label, stream)
        self.acknowledged[key] = after

    @rule(key=st.sampled_from(KEYS), gap=st.integers(1, 500))
    def skip(self, key: tuple[str, Stream], gap: int) -> None:
        """The agent had to drop something."""
        label, stream = key
        offset = self.log.written(label, stream) + gap
        self.time += 1
        self.log.append(label, stream, offset, SAID[key][offset : offset + 10], time_ns=self.time)
        assert self.records()[-2].data == f"{gap} bytes of {stream} are missing here".encode()
        self.acknowledged[key] = self.log.written(label, stream)

    @rule()
    def reopen(self) -> None:
        """An orderly end: nothing is forgotten."""
        before = self.records()
        self.log.close()
        self.open()
        assert self.records() == before
        assert {key: self.log.written(*key) for key in KEYS} == self.acknowledged

    @rule(keep=st.floats(0, 1))
    def crash(self, keep: float) -> None:
        """The last segment is cut anywhere, in its header, too; then the agent sends again from where the log ends."""
        before = self.records()
        self.log.close()
        last = path_of(self.folder / "one", numbers(self.folder / "one")[-1]) if before else None
        if last is not None:
            with last.open("r+b") as file:
                file.truncate(int(last.stat().st_size * keep))
        self.open()
        now = self.records()
        assert now == before[: len(now)]
        for key, acknowledged in self.acknowledged.items():
            label, stream = key
            position = self.log.written(label, stream)
            assert position <= acknowledged
            if position < acknowledged:
                rest = SAID[key][position:acknowledged]
                self.log.append(label, stream, position, rest, time_ns=self.time)
            assert self.log.written(label, stream) == acknowledged

    def records(self) -> list[LogRecord]:
        return list(self.store.reader("one").records(EVERYTHING))

    @invariant()
    def what_is_read_was_written_once_and_in_order(self) -> None:
        records = self.records()
        assert [record.time_ns for record in records] == sorted(record.time_ns for record in records)
        for label, stream in KEYS:
            mine = [record for record in records if (record.label, record.stream) == (label, stream)]
            for record in mine:
                said = SAID[label, stream][record.offset : record.offset + len(record.data)]
                assert record.data == said
            for earlier, later in pairwise(mine):
                assert later.offset >= earlier.offset + len(earlier.data)
            if mine:
                assert mine[-1].offset + len(mine[-1].data) == self.log.written(label, stream)

    @invariant()
    def it_stays_within_its_limits(self) -> None:
        assert self.store.size() <= LIMITS.sandbox_bytes + LIMITS.segment_bytes

    @rule(tail=st.integers(0, 30), since=st.integers(0, 40))
    def read_the_tail(self, tail: int, since: int) -> None:
        reader = self.store.reader("one")
        every = list(reader.lines(LogQuery(since_ns=since)))
        last = list(reader.lines(LogQuery(since_ns=since, tail=tail)))
        assert len(last) == min(tail, len(every))
        if len(numbers(self.folder / "one")) <= 2:
            assert last == every[len(every) - len(last) :]
        whole = ends(last)
        assert whole == ends(every)[len(ends(every)) - len(whole) :]


def ends(lines: list[LogLine]) -> list[tuple[str, Stream, int]]:
    """Where lines end that have an end; those that began long before lack their beginning in a tail."""
    return [(line.label, line.stream, line.offset + len(line.data)) for line in lines if line.complete]


Logs.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLogs = Logs.TestCase
