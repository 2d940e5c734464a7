"""The newest state of each object, whatever comes first: the watch or the answer to our own write."""

from typing import Any

from kubeembed_operator.kinds import DEPLOYMENT, MODEL, POD, Manifest
from kubeembed_operator.store import Store


def pod(
    name: str, version: int, uid: str = "1", model: str | None = "m", **fields: Any
) -> Manifest:
    labels = {"kubeembed.dev/model": model} if model else {}
    metadata = {
        "name": name,
        "namespace": "n",
        "uid": uid,
        "resourceVersion": str(version),
        "labels": labels,
        "managedFields": [{"manager": "x"}],
    }
    return {"metadata": metadata, **fields}


def test_an_object_is_kept_without_what_nobody_reads() -> None:
    store = Store()
    assert store.put(POD, pod("a", 5))
    assert store.get(POD, ("n", "a")) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "a",
            "namespace": "n",
            "uid": "1",
            "resourceVersion": "5",
            "labels": {"kubeembed.dev/model": "m"},
        },
    }


def test_of_a_pods_spec_only_its_node_and_the_room_it_takes_are_kept() -> None:
    store = Store()
    room = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    containers = [{"name": "c", "image": "i", **room}, {"name": "beside"}]
    placed = {"nodeName": "node1", "nodeSelector": {"gpu": "l4"}}
    store.put(POD, pod("a", 5, spec={**placed, "containers": containers, "volumes": []}))
    found = store.get(POD, ("n", "a"))
    assert found is not None
    assert found["spec"] == {**placed, "containers": [room, {"resources": {}}]}


def test_an_older_version_that_comes_late_is_not_taken() -> None:
    store = Store()
    store.put(POD, pod("a", 9, data="ours"))
    assert not store.put(POD, pod("a", 8, data="late"))
    found = store.get(POD, ("n", "a"))
    assert found is not None
    assert found["data"] == "ours"


def test_children_are_found_by_their_model_in_the_order_of_their_names() -> None:
    store = Store()
    for name in ("b", "a"):
        store.put(POD, pod(name, 1))
    store.put(POD, pod("c", 1, model="other"))
    names = [each["metadata"]["name"] for each in store.children(POD, ("n", "m"))]
    assert names == ["a", "b"]
    assert store.children(DEPLOYMENT, ("n", "m")) == ()


def test_a_child_that_changes_its_label_leaves_its_model() -> None:
    store = Store()
    store.put(POD, pod("a", 1))
    store.put(POD, pod("a", 2, model="other"))
    assert store.children(POD, ("n", "m")) == ()
    assert len(store.children(POD, ("n", "other"))) == 1


def test_a_deletion_forgets_the_object_but_not_its_successor() -> None:
    store = Store()
    store.put(POD, pod("a", 1, uid="old"))
    store.put(POD, pod("a", 3, uid="new"))
    store.drop(POD, pod("a", 2, uid="old"))
    assert store.get(POD, ("n", "a")) is not None
    store.drop(POD, pod("a", 4, uid="new"))
    assert store.get(POD, ("n", "a")) is None
    assert store.children(POD, ("n", "m")) == ()


def test_models_are_listed_by_namespace() -> None:
    store = Store()
    store.put(MODEL, pod("m", 1))
    assert store.models_in("n") == [("n", "m")]
    assert store.models_in("other") == []
