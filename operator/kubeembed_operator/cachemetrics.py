"""Copies in the caches, as Prometheus reads them: their size, how many models share each, what is unused.

Read from the index at each scrape, so that a copy whose last model is gone has no figures left.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kubeembed_api.cachenotes import read_notes
from kubeembed_operator.kinds import CLAIM, MODEL
from kubeembed_operator.store import Store


class CacheFigures(Collector):
    """`kubeembed_weights_*` by copy in use, `kubeembed_cache_*` by claim, as of its last collection."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing, so that registering asks no store."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._copies()
        yield from self._claims()

    def _copies(self) -> Iterator[GaugeMetricFamily]:
        labels = ("namespace", "key")
        models: Counter[tuple[str, str]] = Counter()
        sizes: dict[tuple[str, str], int] = {}
        for place in self._store.keys(MODEL):
            raw = self._store.get(MODEL, place) or {}
            weights = (raw.get("status") or {}).get("weights") or {}
            if weights.get("key"):
                copy = (place[0], weights["key"])
                models[copy] += 1
                sizes[copy] = weights.get("bytes") or 0
        size = GaugeMetricFamily("kubeembed_weights_bytes", "Size of a copy.", labels=labels)
        shared = GaugeMetricFamily(
            "kubeembed_weights_models", "Models that share a copy.", labels=labels
        )
        for copy, count in models.items():
            size.add_metric(copy, sizes[copy])
            shared.add_metric(copy, count)
        yield from (size, shared)

    def _claims(self) -> Iterator[GaugeMetricFamily]:
        labels = ("namespace", "claim", "node")
        size = GaugeMetricFamily(
            "kubeembed_cache_bytes", "Size of all copies on a claim.", labels=labels
        )
        unused = GaugeMetricFamily(
            "kubeembed_cache_unused_bytes", "Of them, of copies that no model uses.", labels=labels
        )
        for place in self._store.keys(CLAIM):
            claim = self._store.get(CLAIM, place)
            notes = read_notes(claim).values() if claim else ()
            for note in (each for each in notes if each.bytes is not None):
                where = (*place, note.node or "")
                size.add_metric(where, note.bytes or 0)
                unused.add_metric(where, note.unused_bytes or 0)
        yield from (size, unused)
