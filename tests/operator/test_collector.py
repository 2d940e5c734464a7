"""A pass over the caches of a namespace: what it writes, and how many collections run side by side."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from kubeembed_api.cachenotes import Note, annotation_of, read_notes
from kubeembed_operator.cluster import Cluster
from kubeembed_operator.collector import AT_ONCE, Collector
from kubeembed_operator.kinds import CLAIM, JOB, MODEL, POD, Manifest
from kubeembed_operator.settings import Settings
from kubeembed_operator.store import Store, caches_of

KEY, OTHER = "a" * 32, "b" * 32
NOW = datetime(2027, 1, 1, tzinfo=UTC)


class Applied:
    """An API server that takes what it is given, as server-side apply of one manager has it."""

    def __init__(self) -> None:
        self.all: list[Manifest] = []

    async def apply(self, manifest: Manifest, **_: Any) -> Manifest:
        self.all.append(manifest)
        head = {"resourceVersion": str(100 + len(self.all)), "uid": f"uid-{len(self.all)}"}
        return {**manifest, "metadata": head | manifest["metadata"]}

    def names(self, kind: str) -> list[str]:
        return [each["metadata"]["name"] for each in self.all if each["kind"] == kind]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def applied() -> Applied:
    return Applied()


@pytest.fixture
def collector(store: Store, applied: Applied, settings: Settings) -> Collector:
    cluster = cast(Cluster, applied)
    return Collector(store=store, cluster=cluster, settings=settings, clock=lambda: NOW)


def claim(*notes: Note) -> Manifest:
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "annotations": {annotation_of(note.node): note.write() for note in notes},
            "name": "kubeembed-node-weights",
            "namespace": "search",
            "resourceVersion": "1",
            "uid": "claim-uid",
        },
    }


def noted(count: int) -> list[Note]:
    return [Note(keys=frozenset({KEY}), node=f"n{number:02}") for number in range(count)]


async def test_a_namespace_in_which_nothing_went_writes_nothing(
    store: Store, applied: Applied, collector: Collector, document: Callable[..., Manifest]
) -> None:
    store.put(MODEL, {**document(weights={"cache": "Node"}), "status": {"weights": {"key": KEY}}})
    store.put(CLAIM, claim(*noted(2)))
    assert await collector(caches_of("search")) is None
    assert applied.all == []


async def test_a_node_with_a_serving_pod_gets_a_note_beside_the_others(
    store: Store, applied: Applied, collector: Collector, document: Callable[..., Manifest]
) -> None:
    store.put(MODEL, {**document(weights={"cache": "Node"}), "status": {"weights": {"key": KEY}}})
    store.put(CLAIM, claim(*noted(1)))
    labels = {"kubeembed.dev/model": "minilm", "app.kubernetes.io/component": "serving"}
    head = {"name": "a", "namespace": "search", "uid": "a", "resourceVersion": "1"}
    store.put(POD, {"metadata": {**head, "labels": labels}, "spec": {"nodeName": "n01"}})
    await collector(caches_of("search"))
    [written] = applied.all
    assert read_notes(written) == {note.node: note for note in noted(2)}


async def test_a_key_that_somebody_wants_gone_is_for_the_collection_to_remove_unless_in_use(
    store: Store, applied: Applied, collector: Collector, document: Callable[..., Manifest]
) -> None:
    store.put(MODEL, {**document(weights={"cache": "Node"}), "status": {"weights": {"key": KEY}}})
    wanted = claim(*noted(2))
    wanted["metadata"]["annotations"]["kubeembed.dev/remove"] = f"{KEY} {OTHER}"
    store.put(CLAIM, wanted)
    await collector(caches_of("search"))
    told = [each["metadata"]["annotations"] for each in applied.all]
    assert [(each["kubeembed.dev/node"], each["kubeembed.dev/remove"]) for each in told] == [
        ("n00", OTHER),
        ("n01", OTHER),
    ]


async def test_many_nodes_are_cleared_some_at_a_time(
    store: Store, applied: Applied, collector: Collector
) -> None:
    store.put(CLAIM, claim(*noted(AT_ONCE + 3)))
    await collector(caches_of("search"))
    await collector(caches_of("search"))
    assert len(applied.names("Job")) == len(set(applied.names("Job"))) == AT_ONCE
    assert applied.names("PersistentVolumeClaim") == []


async def test_a_node_that_was_not_reached_makes_room_for_the_next(
    store: Store, applied: Applied, collector: Collector
) -> None:
    store.put(CLAIM, claim(*noted(AT_ONCE + 1)))
    await collector(caches_of("search"))
    late = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    [first, *_] = store.children(JOB, caches_of("search"))
    changed = {**first["metadata"], "resourceVersion": "999"}
    store.put(JOB, {**first, "metadata": changed, "status": {"conditions": [late]}})
    await collector(caches_of("search"))
    given_up = first["metadata"]["annotations"]["kubeembed.dev/node"]
    [written] = [each for each in applied.all if each["kind"] == "PersistentVolumeClaim"]
    assert given_up not in read_notes(written)
    assert len(read_notes(written)) == AT_ONCE
    await collector(caches_of("search"))
    assert len(applied.names("Job")) == AT_ONCE + 1
