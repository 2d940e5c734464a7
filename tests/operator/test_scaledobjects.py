"""What is known of KEDA and of the ScaledObjects, by one list each five seconds, and who is woken for it."""

from collections.abc import Callable
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_operator.cluster import ClusterError, Missing, Unreachable
from kubeembed_operator.kinds import MODEL, SCALED_OBJECT, Key, Kind, Manifest
from kubeembed_operator.scaledobjects import NOT_INSTALLED, ScaledObjects, problem
from kubeembed_operator.store import Store

Build = Callable[..., EmbeddingModel]

KEY = ("search", "minilm")
READY = {"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "well"}
BROKEN = {"type": "Ready", "status": "False", "reason": "TriggerError", "message": "no triggers"}


class Rig:
    """A store, and an API server that lists what a test says."""

    def __init__(self) -> None:
        self.store = Store()
        self.found: list[Manifest] | ClusterError = []
        self.lists = 0
        self.woken: list[Key] = []
        self.now = 0.0
        self.scaled = ScaledObjects(store=self.store, cluster=self, wake=self.woken.append)

    async def ours(self, kind: Kind) -> list[Manifest]:
        assert kind == SCALED_OBJECT
        self.lists += 1
        if isinstance(self.found, ClusterError):
            raise self.found
        return self.found

    async def look(self, times: int = 1) -> list[Key]:
        """The keys that were woken by the last of so many looks."""
        for _ in range(times):
            self.woken.clear()
            await self.scaled.look(self.now)
            self.now += 5.0
        return list(self.woken)

    def has_model(self, mode: str = "KEDA") -> None:
        metadata = {"name": "minilm", "namespace": "search", "uid": "m", "resourceVersion": "1"}
        self.store.put(MODEL, {"metadata": metadata, "spec": {"scaling": {"mode": mode}}})


def scaled_object(*conditions: Manifest, version: int = 1, **metadata: str) -> Manifest:
    return {
        "metadata": {
            "name": "minilm",
            "namespace": "search",
            "uid": "s",
            "resourceVersion": str(version),
            "labels": {"kubeembed.dev/model": "minilm"},
            **metadata,
        },
        "status": {"conditions": list(conditions)},
    }


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def by_keda(model: Build) -> EmbeddingModel:
    return model(scaling={"mode": "KEDA", "max": 4})


async def test_where_no_model_has_to_do_with_keda_one_list_is_enough(rig: Rig) -> None:
    rig.has_model("Builtin")
    assert await rig.look(5) == []
    assert rig.lists == 1


async def test_that_keda_is_not_there_is_told_and_that_it_has_come(
    rig: Rig, by_keda: EmbeddingModel
) -> None:
    rig.has_model()
    assert rig.scaled.trouble(by_keda) is None  # nobody knows yet
    rig.found = Missing("list ScaledObject", 404, "page not found")
    assert await rig.look() == [KEY]
    found = rig.scaled.trouble(by_keda)
    assert found is not None
    assert (found.reason, found.message) == (Reason.KEDA_NOT_INSTALLED, NOT_INSTALLED)
    assert not rig.scaled.installed
    assert await rig.look() == []
    rig.found = []
    assert await rig.look() == [KEY]
    assert rig.scaled.installed
    assert rig.scaled.trouble(by_keda) is None


async def test_it_is_no_trouble_of_models_that_do_not_want_keda(rig: Rig, model: Build) -> None:
    rig.has_model()
    rig.found = Missing("list ScaledObject", 404, "page not found")
    await rig.look()
    assert rig.scaled.trouble(model()) is None


async def test_a_change_wakes_the_model_once_and_so_does_a_deletion(rig: Rig) -> None:
    rig.has_model()
    await rig.look()
    rig.found = [scaled_object(READY)]
    assert await rig.look() == [KEY]
    assert rig.store.get(SCALED_OBJECT, KEY) == {
        **rig.found[0],
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
    }
    assert await rig.look(3) == []
    rig.found = [scaled_object(READY, version=2)]
    assert await rig.look() == [KEY]
    rig.found = []
    assert await rig.look() == [KEY]
    assert rig.store.get(SCALED_OBJECT, KEY) is None


async def test_what_an_earlier_operator_left_is_found_and_waited_for(rig: Rig) -> None:
    rig.has_model("Builtin")
    rig.found = [scaled_object(READY)]
    assert await rig.look() == [KEY]
    rig.found = [scaled_object(READY, version=2, deletionTimestamp="2026-11-27T12:00:00Z")]
    assert await rig.look(2) == [KEY]  # each time, until it is gone
    rig.found = []
    assert await rig.look() == [KEY]
    before = rig.lists
    await rig.look(3)
    assert rig.lists == before


async def test_trouble_is_told_once_it_lasts(rig: Rig, by_keda: EmbeddingModel) -> None:
    rig.has_model()
    rig.found = [scaled_object(BROKEN)]
    assert await rig.look() == [KEY]  # it is new
    assert await rig.look(2) == []
    assert rig.scaled.trouble(by_keda) is None
    assert await rig.look() == [KEY]
    found = rig.scaled.trouble(by_keda)
    assert found is not None
    assert found.reason is Reason.SCALED_OBJECT_NOT_READY
    assert found.message == "ScaledObject minilm: TriggerError: no triggers"
    rig.found = [scaled_object(READY, version=2)]
    assert await rig.look() == [KEY]
    assert rig.scaled.trouble(by_keda) is None


async def test_a_list_that_fails_changes_nothing_and_is_complained_of_once(
    rig: Rig, by_keda: EmbeddingModel, caplog: pytest.LogCaptureFixture
) -> None:
    rig.has_model()
    rig.found = [scaled_object(BROKEN)]
    await rig.look(4)
    before = rig.scaled.trouble(by_keda)
    rig.found = Unreachable("list ScaledObject", 0, "no route")
    assert await rig.look(3) == []
    assert rig.scaled.trouble(by_keda) == before is not None
    assert rig.store.get(SCALED_OBJECT, KEY) is not None
    assert [record.message for record in caplog.records] == [
        "cannot list ScaledObjects: list ScaledObject: no answer: no route"
    ]


HPA = {"type": "HPAActive", "status": "False", "reason": "AmbiguousSelector", "message": "two"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (scaled_object(READY), None),
        (scaled_object(BROKEN), "TriggerError: no triggers"),
        (scaled_object(READY, HPA), "AmbiguousSelector: two"),
        (scaled_object(READY, {**HPA, "status": "True"}), None),
        (scaled_object(), "KEDA has not looked at it; look at the pods of KEDA's operator"),
        (
            scaled_object({"type": "Ready", "status": "Unknown"}),
            "KEDA has not looked at it; look at the pods of KEDA's operator",
        ),
        (
            scaled_object(READY, deletionTimestamp="2026-11-27T12:00:00Z"),
            "it is being deleted, and KEDA does not let it go; look at the pods of KEDA's operator",
        ),
    ],
    ids=["well", "not ready", "two autoscalers", "one", "new", "just begun", "deleted"],
)
def test_what_keda_says(found: Manifest, expected: Any) -> None:
    assert problem(found) == expected
