"""Figures of sandboxes: what their VMM uses of the host, what their guest says of itself, and a short history of both.

Nothing is started to measure: the kernel's files of a process are read, and guests are asked over their agents' connections.

Worked example::

    sampler = Sampler(interval=10, guest_interval=30)
    sampler.add(Target("web-1", pids=(machine.pid,), guest=guest.stats))
    async with asyncio.TaskGroup() as group:
        group.create_task(sampler.run())
        ...
        history = sampler.history("web-1")
        print(history.rates())                           # between the last two samples
        text = prometheus([Labelled("web-1", history.latest, service="web")])
"""

from monocore_core.metrics.history import History
from monocore_core.metrics.prometheus import Labelled, prometheus
from monocore_core.metrics.rates import Rates, rates
from monocore_core.metrics.sampler import Sampler, Target
from monocore_core.metrics.values import HostFigures, Sample

__all__ = [
    "History",
    "HostFigures",
    "Labelled",
    "Rates",
    "Sample",
    "Sampler",
    "Target",
    "prometheus",
    "rates",
]
