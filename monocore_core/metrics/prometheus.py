"""Samples in Prometheus' text format. Needs ``prometheus-client`` (the extra ``server``), imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from monocore_core.errors import Unsupported
from monocore_core.metrics.starts import Starts
from monocore_core.metrics.values import Sample
from monocore_core.model.pool import PoolShape

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("sandbox", "service", "group")


@frozen
class Labelled:
    """A sample and whose it is; ``service`` and ``group`` are "" where there is none."""

    sandbox: str
    sample: Sample
    service: str = ""
    group: str = ""


@frozen
class _Family:
    """One metric: a counter when its name ends in ``_total``. ``value`` is None where a sample does not have it."""

    name: str
    help: str
    value: Callable[[Sample], float | None]


def _guest(name: str, scale: float = 1) -> Callable[[Sample], float | None]:
    def value(sample: Sample) -> float | None:
        return None if sample.guest is None else getattr(sample.guest, name) / scale

    return value


_FAMILIES = (
    _Family("cpu_seconds_total", "Processor time used on the host.", lambda s: s.host.cpu_ns / 1e9),
    _Family("memory_rss_bytes", "Resident memory on the host.", lambda s: s.host.rss),
    _Family("memory_pss_bytes", "The same, shared memory in proportion.", lambda s: s.host.pss),
    _Family("threads", "Threads of the VMM.", lambda s: s.host.threads),
    _Family("storage_read_bytes_total", "Read from the host's storage.", lambda s: s.host.read_bytes),
    _Family("storage_written_bytes_total", "Written to the host's storage.", lambda s: s.host.written_bytes),
    _Family("sampled_timestamp_seconds", "When it was measured.", lambda s: s.time_ns / 1e9),
    _Family("guest_cpu_seconds_total", "Processor time, said by the guest.", _guest("cpu_ns", 1e9)),
    _Family("guest_uptime_seconds", "Since the guest's boot.", _guest("uptime_ns", 1e9)),
    _Family("guest_load1", "One-minute load average in the guest.", _guest("load1", 100)),
    _Family("guest_processes", "Processes in the guest.", _guest("processes")),
    _Family("guest_tasks", "Threads in the guest.", _guest("tasks")),
    _Family("guest_oom_kills_total", "Processes killed for lack of memory.", _guest("oom_kills")),
    _Family("guest_memory_total_bytes", "Memory of the guest.", _guest("memory_total")),
    _Family("guest_memory_available_bytes", "Memory that the guest can give.", _guest("memory_available")),
    _Family("guest_memory_anonymous_bytes", "Processes' own memory.", _guest("memory_anonymous")),
    _Family("guest_memory_cached_bytes", "Files held in memory.", _guest("memory_cached")),
    _Family("guest_disk_read_bytes_total", "Read from disks by the guest.", _guest("disk_read_bytes")),
    _Family("guest_disk_written_bytes_total", "Written to disks by the guest.", _guest("disk_written_bytes")),
    _Family("guest_network_received_bytes_total", "Received by the guest.", _guest("network_received_bytes")),
    _Family("guest_network_sent_bytes_total", "Sent by the guest.", _guest("network_sent_bytes")),
)


def prometheus(
    samples: Iterable[Labelled], starts: Starts | None = None, pool: Sequence[PoolShape] = ()
) -> bytes:
    """The text of a scrape (:data:`CONTENT_TYPE`): ``monocore_sandbox_…{sandbox=…,service=…,group=…}``, ``monocore_sandboxes``, ``monocore_start…``, ``monocore_pool_…``.

    Raises:
        Unsupported: ``prometheus-client`` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - 70 ms that only a scrape needs
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415
        from prometheus_client.metrics_core import Metric  # noqa: PLC0415
        from prometheus_client.registry import Collector  # noqa: PLC0415

        from monocore_core.metrics.families import families_of_pool, families_of_starts  # noqa: PLC0415
    except ImportError as error:
        raise Unsupported(
            "metrics for Prometheus need prometheus-client, which is not installed",
            hint="pip install 'monocore-core[server]'",
        ) from error
    labelled = list(samples)

    def family(one: _Family) -> Metric:
        name = f"monocore_sandbox_{one.name}"
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        metric = kind(name, one.help, labels=_LABELS)
        for labels, value in _values(one, labelled):
            metric.add_metric(labels, value)
        return metric

    class Sandboxes(Collector):
        """The samples as families."""

        def collect(self) -> Iterable[Metric]:
            yield GaugeMetricFamily("monocore_sandboxes", "Sandboxes that run.", value=len(labelled))
            yield from map(family, _FAMILIES)
            yield from families_of_starts(starts)
            yield from families_of_pool(pool)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Sandboxes())
    return generate_latest(registry)


def _values(one: _Family, samples: Sequence[Labelled]) -> Iterable[tuple[Sequence[str], float]]:
    for labelled in samples:
        value = one.value(labelled.sample)
        if value is not None:
            yield (labelled.sandbox, labelled.service, labelled.group), value
