"""What happens in a second, between two samples. Pure."""

from __future__ import annotations

from attrs import evolve, frozen

from monocore_core.metrics.values import Sample
from monocore_core.model.guest import GuestStats


@frozen
class Rates:
    """Per second; None where it is not known: one of the samples lacks it, or a counter began anew in between.

    Attributes:
        seconds: between the two samples.
        cpu: cores in use on the host (1.0 is one).
        read_bytes: of the host's storage, by the VMM.
        written_bytes: likewise.
        guest_seconds: between what the guest said, 0.0 when it said nothing new.
        guest_cpu: cores in use in the guest.
        disk_read_bytes: by the guest.
        disk_written_bytes: likewise.
        network_received_bytes: likewise.
        network_sent_bytes: likewise.
    """

    seconds: float
    cpu: float | None = None
    read_bytes: float | None = None
    written_bytes: float | None = None
    guest_seconds: float = 0.0
    guest_cpu: float | None = None
    disk_read_bytes: float | None = None
    disk_written_bytes: float | None = None
    network_received_bytes: float | None = None
    network_sent_bytes: float | None = None


def rates(earlier: Sample, later: Sample) -> Rates | None:
    """Between two samples of one sandbox; None when no time passed."""
    seconds = (later.time_ns - earlier.time_ns) / 1e9
    if seconds <= 0:
        return None
    cpu = _rate(earlier.host.cpu_ns, later.host.cpu_ns, seconds)
    host = Rates(
        seconds=seconds,
        cpu=None if cpu is None else cpu / 1e9,
        read_bytes=_rate(earlier.host.read_bytes, later.host.read_bytes, seconds),
        written_bytes=_rate(earlier.host.written_bytes, later.host.written_bytes, seconds),
    )
    guest_seconds = (later.guest_time_ns - earlier.guest_time_ns) / 1e9
    if earlier.guest is None or later.guest is None or guest_seconds <= 0:
        return host
    return _with_guest(host, earlier.guest, later.guest, guest_seconds)


def _with_guest(host: Rates, before: GuestStats, after: GuestStats, seconds: float) -> Rates:
    if after.uptime_ns < before.uptime_ns:  # booted in between
        return host
    cpu = _rate(before.cpu_ns, after.cpu_ns, seconds)
    return evolve(
        host,
        guest_seconds=seconds,
        guest_cpu=None if cpu is None else cpu / 1e9,
        disk_read_bytes=_rate(before.disk_read_bytes, after.disk_read_bytes, seconds),
        disk_written_bytes=_rate(before.disk_written_bytes, after.disk_written_bytes, seconds),
        network_received_bytes=_rate(before.network_received_bytes, after.network_received_bytes, seconds),
        network_sent_bytes=_rate(before.network_sent_bytes, after.network_sent_bytes, seconds),
    )


def _rate(before: int | None, after: int | None, seconds: float) -> float | None:
    if before is None or after is None or after < before:
        return None
    return (after - before) / seconds
