"""W3C trace context: a span for each request, sent by OTLP where the environment names a collector.

The spans are FastAPI's own. OpenTelemetry's SDK is imported only then, and is an extra: without a collector
nothing of it costs a request or a start any time. Its usual variables (OTEL_...) say the rest.
"""

import logging
import os
from typing import Any

from fastapi.telemetry import TelemetryConfig

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

OFF: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

#: Asked for every few seconds by machines.
UNTRACED = frozenset({"/health", "/docs", "/openapi.json"})


def telemetry(model: str) -> TelemetryConfig:
    """What the public port's application is made with. Spans name the model as their service."""
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None:
        return OFF
    try:
        provider = _provider(model)
    except ImportError as error:
        problem = "no traces are sent to %s: %s; install kubeembed[tracing]"
        logger.warning(problem, endpoint, error)
        return OFF
    logger.info("traces are sent to %s", endpoint)
    return traced(provider)


def traced(provider: Any) -> TelemetryConfig:
    """With spans of this TracerProvider."""
    return OFF | TelemetryConfig(
        tracing=True, tracer_provider=provider, exclude=lambda scope: scope["path"] in UNTRACED
    )


def _provider(model: str) -> Any:
    """Sends in a thread of its own; a collector that is away costs spans, never a request."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": model}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
