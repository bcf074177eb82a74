"""Figures of starts and of the pool in Prometheus' words. Needs ``prometheus-client``: imported by a scrape alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from monocore_core.metrics.starts import Starts
from monocore_core.model.pool import PoolShape

_SHAPE = ("vcpus", "memory", "disks", "settled")


def families_of_starts(starts: Starts | None) -> Iterable[Metric]:
    """How long stages take, how machines begin, why starts fail and runs end; nothing where nobody counts."""
    if starts is None:
        return
    stages = HistogramMetricFamily(
        "monocore_start_stage_seconds", "Duration of a stage of a start.", labels=("stage",)
    )
    for name, histogram in starts.stages.items():
        stages.add_metric((name,), histogram.cumulative(), histogram.total)
    yield stages
    for name, text, label, counts in (
        ("monocore_starts", "Machines that began, by how.", "began", starts.begun),
        ("monocore_start_failures", "Starts that failed, by reason.", "reason", starts.failures),
        ("monocore_ends", "Runs that ended, by reason.", "reason", starts.ends),
    ):
        counter = CounterMetricFamily(name, text, labels=(label,))
        for value, count in counts.items():
            counter.add_metric((value,), count)
        yield counter


def families_of_pool(shapes: Sequence[PoolShape]) -> Iterable[Metric]:
    """How many machines wait, and what they take."""
    ready = GaugeMetricFamily("monocore_pool_ready", "Machines that wait.", labels=_SHAPE)
    taken = GaugeMetricFamily("monocore_pool_memory_bytes", "Memory that they take.", labels=_SHAPE)
    sums: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for shape in shapes:
        settled = "yes" if shape.settled else "no"
        labels = (str(shape.vcpus), str(shape.memory), "+".join(shape.disks), settled)
        count, weight = sums.get(labels, (0, 0))
        sums[labels] = (count + shape.ready, weight + shape.bytes)
    for labels, (count, weight) in sums.items():
        ready.add_metric(labels, count)
        taken.add_metric(labels, weight)
    yield from (ready, taken)
