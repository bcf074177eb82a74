"""What a collector of OpenTelemetry is sent of the runs of sandboxes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.integration.daemon.conftest import Home
from tests.integration.screen import LIMIT

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.headers: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector = self.server
        assert isinstance(collector, Collector)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers.get("Content-Encoding") is None
        collector.headers.add(self.headers.get("X-Key", ""))
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                collector.spans.extend(scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        del format, args


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.05,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


class _Traced(Home):
    """A home of its own, whose daemon has a collector."""

    @property
    def environ(self) -> dict[str, str]:
        config = str(self.path.with_name("traced.toml"))
        return {**super().environ, "MONOCORE_CONFIG": config, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=sesame"}


def test_a_run_is_a_trace_with_its_stages(collector: Collector, served: str, tmp_path: Path) -> None:
    (tmp_path / "traced.toml").write_text(f'[daemon]\ntraces = "{collector.url}"\n')
    home = _Traced(tmp_path / "home", served)
    try:
        home.out("run", "--rm", "-q", "--name", "good", home.image, "true")
        assert (
            home.run("run", "--rm", "-q", "--name", "bad", home.image, "sh", "-c", "exit 7").returncode == 7
        )
        home.out("serve", "--stop")  # what it has not sent yet, it sends then
        deadline = time.monotonic() + LIMIT
        while not (collector.named("run good") and collector.named("run bad")):
            assert time.monotonic() < deadline, [span.name for span in collector.spans]
            time.sleep(0.05)
    finally:
        home.close()
    (good,), (bad,) = collector.named("run good"), collector.named("run bad")
    assert collector.headers == {"sesame"}
    assert good.status.code == Status.STATUS_CODE_UNSET
    assert bad.status.code == Status.STATUS_CODE_ERROR
    facts = {one.key: one.value for one in bad.attributes}
    assert facts["monocore.end.code"].int_value == 7
    assert facts["monocore.sandbox.name"].string_value == "bad"
    assert good.trace_id != bad.trace_id
    mine = [span for span in collector.spans if span.trace_id == good.trace_id]
    (start,) = (span for span in mine if span.name == "start")
    assert start.parent_span_id == good.span_id
    stages = [span for span in mine if span.parent_span_id == start.span_id]
    assert {"image", "spawn", "exec"} <= {span.name for span in stages}, [span.name for span in stages]
    assert all(good.start_time_unix_nano <= span.start_time_unix_nano for span in stages)
    assert all(
        span.start_time_unix_nano <= span.end_time_unix_nano <= good.end_time_unix_nano for span in mine
    )


def test_a_collector_that_is_away_holds_nothing_up(served: str, tmp_path: Path) -> None:
    (tmp_path / "traced.toml").write_text('[daemon]\ntraces = "http://127.0.0.1:1/v1/traces"\n')
    home = _Traced(tmp_path / "home", served)
    try:
        assert home.out("run", "--rm", "-q", home.image, "echo", "hi") == "hi\n"
        home.out("serve", "--stop")
    finally:
        home.close()
