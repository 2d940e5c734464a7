"""What is counted, for Prometheus: requests by contract and status, batches, the queue, and by adapter
what it took of tokenizer, queue and device.

One registry per served model rather than the library's global one, so that two can live in one process.
"""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import BatchRun

#: Seconds: from one short query on a GPU to a long queue.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TOKENIZER_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_FILL = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)


class Metrics:
    """Counters of one runtime. Safe to use from the event loop and the device threads."""

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry, buckets=_SECONDS)
        self._requests = counter("kubeembed_requests", "Answered requests", ("contract", "status"))
        self._request_seconds = histogram(
            "kubeembed_request_seconds", "Body read to reply built", ("contract",)
        )
        self._tokens = counter("kubeembed_tokens", "Tokens run", ("adapter",))
        self._items = counter("kubeembed_items", "Inputs run")
        self._batches = counter("kubeembed_batches", "Batches run", ("outcome",))
        self._device_seconds = counter(
            "kubeembed_device_seconds",
            "Time in forward passes; of one that several adapters share, by their tokens",
            ("adapter",),
        )
        self._fill = histogram("kubeembed_batch_fill", "Share of the token budget", buckets=_FILL)
        self._queue_seconds = histogram(
            "kubeembed_queue_seconds", "Submitted to first batch", ("adapter",)
        )
        self._tokenize_seconds = histogram(
            "kubeembed_tokenize_seconds",
            "Request read to its tokens",
            ("adapter",),
            buckets=_TOKENIZER_SECONDS,
        )
        self._queue_tokens = gauge("kubeembed_queue_tokens", "Tokens waiting")
        self._ready = gauge("kubeembed_ready", "1 while ready")
        self._model = gauge(
            "kubeembed_model_info",
            "The model as it is served",
            ("model", "fingerprint", "dtype", "device"),
        )
        for each in (
            self._tokens,
            self._device_seconds,
            self._queue_seconds,
            self._tokenize_seconds,
        ):
            each.labels("")  # shown as 0 before the first request
        build = gauge("kubeembed_build_info", "This runtime", ("version",))
        build.labels(version).set(1)

    def count_request(self, contract: str, status: int, seconds: float) -> None:
        self._requests.labels(contract, str(status)).inc()
        self._request_seconds.labels(contract).observe(seconds)

    def count_batch(self, run: BatchRun) -> None:
        self._batches.labels("failed" if run.failed else "ok").inc()
        self._fill.observe(run.fill)
        whole = max(1, sum(run.tokens.values()))
        for adapter, tokens in run.tokens.items():
            self._device_seconds.labels(adapter).inc(run.device_seconds * tokens / whole)
            if not run.failed:
                self._tokens.labels(adapter).inc(tokens)
        for adapter, seconds in run.queue_seconds:
            self._queue_seconds.labels(adapter).observe(seconds)
        if not run.failed:
            self._items.inc(run.items)

    def count_tokenized(self, adapter: str, seconds: float) -> None:
        """adapter: "" is the base without one, as in all that is counted by adapter."""
        self._tokenize_seconds.labels(adapter).observe(seconds)

    def show_model(self, info: RuntimeInfo, waiting_tokens: Callable[[], int]) -> None:
        labels = (info.name, info.fingerprint, info.dtype, info.device)
        self._model.labels(*labels).set(1)
        self._queue_tokens.set_function(waiting_tokens)

    def show_ready(self, ready: Callable[[], bool]) -> None:
        self._ready.set_function(ready)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
