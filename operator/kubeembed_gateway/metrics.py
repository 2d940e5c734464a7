"""What is counted, for Prometheus. One value, made by `__main__` and passed to who counts."""

from collections import defaultdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from kubeembed_gateway.activity import Activity
from kubeembed_gateway.reading import Key
from kubeembed_gateway.table import Table

MODEL = ("namespace", "model")

#: From a pod that becomes ready at once to a GPU node that has to be bought.
HOLD_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The gateway's own registry, so that tests can have several in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._answered: defaultdict[Key, dict[int, Counter]] = defaultdict(dict)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.held = Gauge(
            "kubeembed_gateway_held", "Requests that wait for a pod.", MODEL, registry=registry
        )
        self.hold_seconds = Histogram(
            "kubeembed_gateway_hold_seconds",
            "How long requests waited that had to.",
            MODEL,
            registry=registry,
            buckets=HOLD_SECONDS,
        )
        self.held_bytes = Gauge(
            "kubeembed_gateway_body_bytes", "Bytes of bodies that are kept.", registry=registry
        )
        self.wakes = Counter(
            "kubeembed_gateway_wakes", "Models scaled from 0 to 1.", MODEL, registry=registry
        )
        self.requests = Counter(
            "kubeembed_gateway_requests",
            "Requests by the status of their answer; 499 where the client left before it.",
            (*MODEL, "status"),
            registry=registry,
        )
        self.retries = Counter(
            "kubeembed_gateway_retries",
            "Requests sent again because a pod broke off before it answered.",
            MODEL,
            registry=registry,
        )
        self.connections = Gauge(
            "kubeembed_gateway_connections", "Connections that clients have.", registry=registry
        )
        self.models = Gauge("kubeembed_gateway_models", "Models that are known.", registry=registry)
        self.pods = Gauge("kubeembed_gateway_pods", "Ready pods that are known.", registry=registry)
        self.left_out = Gauge(
            "kubeembed_gateway_ejected_pods",
            "Pods that broke off and are left out for now.",
            registry=registry,
        )
        self.watch_errors = Counter(
            "kubeembed_gateway_watch_errors",
            "Lists and watches that failed, by kind and HTTP status (0: no answer).",
            ("kind", "code"),
            registry=registry,
        )

    def answered(self, model: Key, status: int) -> None:
        """A request, with what it got. model: ("", "") where it named none."""
        known = self._answered[model]
        if status not in known:
            known[status] = self.requests.labels(*model, str(status))
        known[status].inc()

    def forget(self, model: Key) -> None:
        """Drops the series of a model that is gone."""
        for metric in (self.held, self.hold_seconds, self.wakes, self.retries):
            metric.remove(*model)
        for status in self._answered.pop(model, ()):
            self.requests.remove(*model, str(status))

    def text(self) -> bytes:
        return generate_latest(self.registry)


def forget_gone(metrics: Metrics, table: Table, activity: Activity) -> None:
    """Drops the series of models that are gone, once their last request is: it would bring its own back."""
    for model in [key for key in table.gone if not activity.of(key).in_hand]:
        table.gone.discard(model)
        metrics.forget(model)
