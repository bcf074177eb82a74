"""Traces of sandboxes' runs for OpenTelemetry, where ``daemon.traces`` names a collector: the extra ``otel``.

A run is a trace: ``run NAME`` from the start of its start to its end, below it the span ``start``, and below that one a span for each
stage. Stages follow one another; where two were under way at once, the span of the later begins where the earlier ended. A run that was going on when the
daemon came has no trace. Nothing waits for the collector: what it does not take is dropped, and the log says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from attrs import define, field

from monocore_core import __version__
from monocore_core.errors import ConfigError
from monocore_core.runtime.happenings import Happening, Happenings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

#: Runs whose end is waited for; of those beyond, the oldest ends its trace without one.
MAX_RUNS: Final = 10_000
#: Milliseconds that the last spans get, when the daemon ends.
FLUSH: Final = 2_000
log = logging.getLogger("monocore.tracing")


@contextlib.asynccontextmanager
async def tracing(endpoint: str, happenings: Happenings) -> AsyncGenerator[None]:
    """Send traces of what happens to a collector, as long as the context lasts; "" is none.

    Args:
        endpoint: URL that takes OTLP over HTTP, as ``http://127.0.0.1:4318/v1/traces``. Headers, certificates and the
            time limit come from OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_HEADERS`` …).
        happenings: what is told.

    Raises:
        ConfigError: the extra is not installed.
    """
    if not endpoint:
        yield
        return
    provider = _provider(endpoint)
    task = asyncio.create_task(
        _follow(provider.get_tracer("monocore", __version__), happenings), name="tracing"
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(provider.force_flush, FLUSH)
        await asyncio.to_thread(provider.shutdown)


def _provider(endpoint: str) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - the extra, and 200 ms
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"daemon.traces is set, and OpenTelemetry is not installed ({error.name})",
            hint="pip install 'monocore-core[otel]', or leave it out",
        ) from error
    resource = Resource.create({"service.name": "monocore", "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


async def _follow(tracer: Tracer, happenings: Happenings) -> None:
    runs = _Runs(tracer)
    actions: Mapping[str, Callable[[Happening], None]] = {"started": runs.started, "exited": runs.exited}
    async for happening in happenings.follow():
        act = actions.get(happening.kind)
        if act is not None:
            act(happening)


@define
class _Runs:
    """Those whose end has not come."""

    tracer: Tracer
    _open: dict[str, Span] = field(factory=dict[str, "Span"], init=False)

    def started(self, said: Happening) -> None:
        """A trace, with the stages until now."""
        self._end(said.sandbox, said.time)  # of a run whose end was missed
        while len(self._open) >= MAX_RUNS:
            self._end(next(iter(self._open)), said.time)
        stages = _stages(said)
        began = said.time - max((seconds for _, seconds in stages), default=0.0)
        facts = {"monocore.sandbox.id": said.sandbox, "monocore.sandbox.name": said.name}
        run = self.tracer.start_span(f"run {said.name}", start_time=_ns(began), attributes=facts)
        how = {"monocore.began": str(said.facts.get("began", ""))}
        start = self._below(run, "start", began, how)
        before = began
        for name, seconds in stages:
            self._below(start, name, before).end(_ns(began + seconds))
            before = began + seconds
        start.end(_ns(said.time))
        self._open[said.sandbox] = run

    def exited(self, said: Happening) -> None:
        """The end of one."""
        run = self._open.get(said.sandbox)
        if run is None:
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - see _provider

        reason, code = str(said.facts.get("reason", "")), said.facts.get("code")
        run.set_attribute("monocore.end.reason", reason)
        run.set_attribute("monocore.end.code", code if isinstance(code, int) else -1)
        if (reason, code) != ("exited", 0):
            run.set_status(StatusCode.ERROR, str(said.facts.get("detail", "") or reason))
        self._end(said.sandbox, said.time)

    def _below(
        self, parent: Span, name: str, began: float, attributes: Mapping[str, str] | None = None
    ) -> Span:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - see _provider

        context = set_span_in_context(parent)
        return self.tracer.start_span(name, context, start_time=_ns(began), attributes=attributes)

    def _end(self, sandbox: str, now: float) -> None:
        run = self._open.pop(sandbox, None)
        if run is not None:
            run.end(_ns(now))


def _stages(said: Happening) -> list[tuple[str, float]]:
    """By the time of their end, seconds since the start began."""
    found = cast("Mapping[str, float]", said.facts.get("stages") or {})
    return sorted(found.items(), key=lambda one: one[1])


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
