"""What the operator says of itself to Prometheus. One value, made by `__main__` and passed to who counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

#: A settled pass takes a millisecond, one that applies five objects a tenth of a second.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The operator's own registry, so that tests can have several in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.reconciles = Counter(
            "kubeembed_reconciles", "Passes over a model, by result.", ["result"], registry=registry
        )
        self.seconds = Histogram(
            "kubeembed_reconcile_seconds",
            "Seconds that a pass took.",
            registry=registry,
            buckets=SECONDS,
        )
        self.api_calls = Counter(
            "kubeembed_api_calls",
            "Calls to the API server, watches left out, by verb, kind and HTTP status.",
            ["verb", "kind", "code"],
            registry=registry,
        )
        self.pod_calls = Counter(
            "kubeembed_pod_calls",
            "Calls to the admin port of pods, by method, path and result.",
            ["call", "result"],
            registry=registry,
        )
        self.models = Gauge("kubeembed_models", "Models that are known.", registry=registry)
        self.queue_depth = Gauge(
            "kubeembed_queue_depth", "Models that wait for a pass.", registry=registry
        )
        self.in_hand = Gauge(
            "kubeembed_queue_in_hand", "Models that a pass is working on.", registry=registry
        )
        self.leader = Gauge("kubeembed_leader", "1 for the active operator.", registry=registry)
        self.watch_lag = Gauge(
            "kubeembed_watch_lag_seconds",
            "Seconds that the index is behind the API server, by kind.",
            ["kind"],
            registry=registry,
        )

    def text(self) -> bytes:
        return generate_latest(self.registry)
