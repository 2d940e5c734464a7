"""Spans of requests: continued from the caller's, sent to a collector where the environment names one."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.tracing import OFF, telemetry, traced
from kubeembed_runtime.lifecycle import Lifecycle

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
BODY = {"model": "minilm", "input": "secret words"}


async def _ask(fake_model: Any, config: Any, path: str, method: str) -> httpx.Response:
    lifecycle = Lifecycle("minilm")
    lifecycle.ready(fake_model)
    app = public_app(lifecycle, Metrics("0"), telemetry=config)
    transport = httpx.ASGITransport(app)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with httpx.AsyncClient(transport=transport, base_url="http://minilm") as client:
        return await client.request(method, path, json=BODY, headers=headers)


async def test_a_request_is_a_span_of_its_caller_s_trace(fake_model: Any) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    reply = await _ask(fake_model, traced(provider), "/v1/embeddings", "POST")
    assert reply.status_code == 200
    (span,) = spans.get_finished_spans()
    assert span.name == "POST /v1/embeddings"
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert "secret" not in span.to_json()


async def test_health_is_no_span(fake_model: Any) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    assert (await _ask(fake_model, traced(provider), "/health", "GET")).status_code == 200
    assert spans.get_finished_spans() == ()


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert telemetry("minilm") is OFF


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """(url, what was posted to it)."""
    posted: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


async def test_spans_reach_the_collector_that_the_environment_names(
    fake_model: Any, collector: tuple[str, list[tuple[str, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, posted = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    config = telemetry("minilm")
    await _ask(fake_model, config, "/v1/embeddings", "POST")
    provider: Any = config["tracer_provider"]
    provider.shutdown()
    ((path, body),) = posted
    assert path == "/v1/traces"
    assert b"service.name" in body
    assert b"minilm" in body
    assert bytes.fromhex(TRACE) in body
