"""Models as Prometheus reads them: conditions, replicas, adapters, and what the last start from zero took.

Read from the index at each scrape: a model that is gone has no series left. Followers have no index, and so
no series of models.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kubeembed_api.reasons import Reason
from kubeembed_operator.kinds import MODEL, Key
from kubeembed_operator.store import Store

MODEL_LABELS = ("namespace", "model")
#: Of status.lastColdStart, totalSeconds is the stage `total`.
SECONDS = "Seconds"

Figures = tuple[Key, dict[str, Any]]


class ModelFigures(Collector):
    """`kubeembed_model_*`, `kubeembed_adapter_loaded` and `kubeembed_cold_start_seconds`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing, so that registering asks no store."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        statuses = [
            (key, (self._store.get(MODEL, key) or {}).get("status") or {})
            for key in self._store.keys(MODEL)
        ]
        yield _conditions(statuses)
        yield from _replicas(statuses)
        yield _adapters(statuses)
        yield _cold_starts(statuses)


def _conditions(statuses: list[Figures]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "kubeembed_model_condition",
        "1 where the condition is True, by its reason.",
        labels=(*MODEL_LABELS, "condition", "reason"),
    )
    for key, status in statuses:
        for each in status.get("conditions") or ():
            family.add_metric((*key, each["type"], each["reason"]), each["status"] == "True")
    return family


def _replicas(statuses: list[Figures]) -> Iterator[GaugeMetricFamily]:
    desired = GaugeMetricFamily(
        "kubeembed_model_replicas", "Pods that there should be.", labels=MODEL_LABELS
    )
    ready = GaugeMetricFamily(
        "kubeembed_model_ready_replicas", "Pods that answer.", labels=MODEL_LABELS
    )
    for key, status in statuses:
        replicas = status.get("replicas") or {}
        desired.add_metric(key, replicas.get("desired") or 0)
        ready.add_metric(key, replicas.get("ready") or 0)
    yield from (desired, ready)


def _adapters(statuses: list[Figures]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "kubeembed_adapter_loaded",
        "1 where every pod serves the adapter, by the reason.",
        labels=(*MODEL_LABELS, "adapter", "reason"),
    )
    for key, status in statuses:
        for each in status.get("adapters") or ():
            reason = each.get("reason") or str(Reason.PENDING)
            family.add_metric((*key, each["name"], reason), reason == Reason.LOADED)
    return family


def _cold_starts(statuses: list[Figures]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "kubeembed_cold_start_seconds",
        "What the last start from zero took, by stage.",
        labels=(*MODEL_LABELS, "stage"),
    )
    for key, status in statuses:
        for name, seconds in (status.get("lastColdStart") or {}).items():
            family.add_metric((*key, name.removesuffix(SECONDS)), seconds)
    return family
