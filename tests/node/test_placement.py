"""Roll-outs on a node whose GPUs are all taken by the model itself: told at once, never a hang."""

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from nodekit import Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Model = Callable[..., Manifest]
SURGE = {"maxSurge": 1, "maxUnavailable": 0}


def change(kube: Kube, tokens: int, **rollout: Any) -> None:
    """Another recipe, so that every pod has to be replaced."""
    kube.patch("em", "minilm", {"spec": {"recipe": {"maxTokens": tokens}, "rollout": rollout}})


def pods(kube: Kube) -> list[str]:
    return sorted(
        each["metadata"]["name"]
        for each in kube.list("pods")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == "serving"
    )


def serves(kube: Kube) -> bool:
    address = kube.get("service", "minilm")["spec"]["clusterIP"]
    try:
        with urllib.request.urlopen(f"http://{address}/v1/models", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(kube: Kube) -> int:
    return int(kube.get("deployment", "minilm")["spec"]["replicas"])


def tokens(kube: Kube) -> Any:
    return kube.get("em", "minilm")["status"].get("model", {}).get("maxTokens")


@pytest.fixture
def greedy(kube: Kube, model: Model, info: dict[str, Any]) -> Kube:
    """A model that holds every GPU of the node."""
    kube.apply(model(resources={"profile": "gpu", "count": info["gpus"]}))
    kube.wait_ready("minilm")
    return kube


def test_a_surge_without_room_is_told_and_gives_way_once_that_is_allowed(greedy: Kube) -> None:
    [old] = pods(greedy)
    change(greedy, 64)
    told = greedy.wait_reason("minilm", "Ready", "SurgeBlocked", 120)
    assert "nvidia.com/gpu" in told["message"]
    assert "rollout.strategy: Recreate" in told["message"]
    assert greedy.condition("minilm", "Available")["status"] == "True"
    assert old in pods(greedy)
    assert serves(greedy)
    change(greedy, 64, fallback="Replace", fallbackAfter="1s")
    until("the new recipe", lambda: tokens(greedy) == 64, 240)
    greedy.wait_ready("minilm")
    assert old not in pods(greedy)

    def surges() -> bool:
        found = greedy.get("deployment", "minilm")["spec"]["strategy"]["rollingUpdate"]
        return bool(found == SURGE)

    until("the next roll-out is a surge again", surges, 60)


def test_recreate_makes_room_by_itself(greedy: Kube) -> None:
    change(greedy, 64)
    greedy.wait_reason("minilm", "Ready", "SurgeBlocked", 120)
    change(greedy, 64, strategy="Recreate")
    until("the new recipe", lambda: tokens(greedy) == 64, 240)
    greedy.wait_ready("minilm")


def test_pods_that_never_served_give_way_unasked(
    kube: Kube, model: Model, info: dict[str, Any]
) -> None:
    """A broken pod holds its GPU as well as one that serves does; the corrected document gets it."""
    hardware = {"profile": "gpu", "count": info["gpus"]}
    kube.apply(model(resources=hardware, recipe={"outputs": ["score"]}))
    kube.wait_reason("minilm", "Available", "InvalidRecipe", 240)
    kube.patch("em", "minilm", {"spec": {"recipe": {"outputs": None}}})
    kube.wait_reason("minilm", "Available", "SurgeBlocked", 120)
    kube.wait_ready("minilm")


def test_a_drain_is_not_held_up_by_a_budget(kube: Kube, model: Model, info: dict[str, Any]) -> None:
    kube.apply(model("drained", scaling={"mode": "External", "replicas": 1}))
    kube.wait_ready("drained")
    until(
        "a pod may go", lambda: kube.get("pdb", "drained")["status"]["disruptionsAllowed"] == 1, 60
    )
    words = ("--pod-selector=kubeembed.dev/model=drained", "--delete-emptydir-data", "--force")
    try:
        kube.ctl("drain", info["node"], *words, "--timeout=300s")
    finally:
        kube.ctl("uncordon", info["node"])
    kube.wait_ready("drained")


def test_a_paused_model_keeps_its_pods_until_it_goes_on(kube: Kube, model: Model) -> None:
    kube.apply(model(scaling={"mode": "External", "replicas": 1}))
    kube.wait_ready("minilm")
    before, old = kube.get("deployment", "minilm")["spec"]["template"], pods(kube)
    change(kube, 64, paused=True)
    kube.wait_reason("minilm", "Ready", "Paused", 60)
    assert kube.get("deployment", "minilm")["spec"]["template"] == before
    assert kube.get("deployment", "minilm")["spec"]["paused"] is True
    kube.ctl("delete", "pod", *old)
    until("a pod in its place", lambda: pods(kube) not in ([], old) and serves(kube), 240)
    kube.wait_reason("minilm", "Ready", "Paused", 60)
    assert tokens(kube) == 256
    for number in (2, 1):
        kube.ctl("scale", "em/minilm", f"--replicas={number}")
        until("so many", lambda number=number: asked(kube) == number, 60)
    change(kube, 64, paused=False)
    until("the new recipe", lambda: tokens(kube) == 64, 240)
    kube.wait_ready("minilm")
    assert "paused" not in kube.get("deployment", "minilm")["spec"]


def test_a_budget_comes_and_goes_with_the_second_replica(kube: Kube, model: Model) -> None:
    kube.apply(model(scaling={"mode": "External", "replicas": 0}))
    budget = until("a budget", lambda: kube.get("pdb", "minilm"), 60)
    assert budget["spec"]["maxUnavailable"] == 1
    kube.apply(model(scaling={"mode": "Builtin"}))
    until("none", lambda: kube.get("pdb", "minilm") is None, 60)
