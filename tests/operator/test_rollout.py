"""When a surge has no room, what is said of it, and when the old pods give way."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_operator.conditions import conditions
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.deployment import deployment, pause
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import plan
from kubeembed_operator.rollout import Rollout, blocked, complete, rollout_of
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))
GPU = "nvidia.com/gpu"
NO_GPU = f"0/1 nodes are available: 1 Insufficient {GPU}. preemption: not helpful, 1 No victims."


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    template: str, *conditions: Manifest, node: str = "", limits: Any = None, **spec: Any
) -> Manifest:
    container = {"resources": {"limits": limits or {GPU: "1"}}}
    placed = {"nodeName": node} if node else {}
    return {
        "metadata": {"labels": {"pod-template-hash": template}, "creationTimestamp": ago(900)},
        "spec": {**placed, "containers": [container], **spec},
        "status": {"conditions": list(conditions)},
    }


def waits(message: str = NO_GPU, seconds: float = 5) -> Manifest:
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": ago(seconds),
    }


def answers(yes: bool = True, seconds: float = 600) -> Manifest:
    status = "True" if yes else "False"
    return {"type": "Ready", "status": status, "lastTransitionTime": ago(seconds)}


OLD = pod("old", answers(), node="n1")
NEW = pod("new", waits())


def rolled(strategy: Manifest | None = None, **status: int) -> Manifest:
    told = {"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    spec = {"replicas": 1, "strategy": strategy or {}}
    return {"metadata": {}, "spec": spec, "status": {**told, **status}}


STUCK = Observed(deployment=rolled(), serving_pods=(NEW, OLD))


@pytest.mark.parametrize(
    ("pods", "resources"),
    [
        ((NEW, OLD), (GPU,)),
        ((NEW,), None),
        ((OLD,), None),
        ((pod("new", waits(), limits={GPU: "2"}), OLD), None),
        ((pod("new", waits(), nodeSelector={"gpu": "h100"}), OLD), None),
        ((pod("new", waits("0/1 nodes are available: 1 node(s) had taints.")), OLD), None),
        ((pod("new", waits(f"{NO_GPU} 1 Insufficient memory.")), OLD), None),
        ((pod("old", waits()), OLD), None),
        (
            (
                pod("new", waits(), limits={GPU: "2"}),
                OLD,
                pod("old", answers(), node="n1"),
            ),
            (GPU,),
        ),
        (
            (
                pod("new", waits(), limits={GPU: "2"}),
                OLD,
                pod("old", answers(), node="n2"),
            ),
            None,
        ),
    ],
    ids=[
        "the old pod has the gpu",
        "somebody else has it",
        "nobody waits",
        "its going would not be enough",
        "the new pod goes elsewhere",
        "no resource is short",
        "something else is short as well",
        "more of the same template",
        "two on one node are enough",
        "two on two nodes are not",
    ],
)
def test_a_surge_is_blocked_only_by_what_the_models_own_old_pods_hold(
    pods: tuple[Manifest, ...], resources: tuple[str, ...] | None
) -> None:
    found = blocked(Observed(deployment=rolled(), serving_pods=pods))
    assert (found and found.resources) == resources


def test_devices_by_allocation_are_counted_too() -> None:
    claims = {"containers": [{"resources": {"claims": [{"name": "device-0"}]}}]}
    message = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable"
    new, old = pod("new", waits(message), **claims), pod("old", answers(), node="n1", **claims)
    found = blocked(Observed(deployment=rolled(), serving_pods=(new, old)))
    assert found is not None
    assert found.resources == ("devices",)


def ready(model: EmbeddingModel, observed: Observed) -> tuple[str, str, str]:
    rollout = rollout_of(model, observed, NOW)
    found = conditions(model, THERE, observed, NOW, rollout=rollout)[0]
    return found.status, str(found.reason), found.message


def test_a_blocked_surge_is_told_at_once_with_the_way_out(model: Build) -> None:
    status, reason, message = ready(model(), STUCK)
    assert (status, reason) == ("False", "SurgeBlocked")
    assert GPU in message
    assert "rollout.strategy: Recreate" in message
    assert "rollout.fallback: Replace" in message
    assert rollout_of(model(), STUCK, NOW).look_in is None


def test_the_message_says_when_the_old_pods_give_way_by_themselves(model: Build) -> None:
    allowed = model(rollout={"fallback": "Replace", "fallbackAfter": "10m"})
    _, reason, message = ready(allowed, STUCK)
    assert reason == "SurgeBlocked"
    assert message.endswith("which give their places to new ones if none has come after 10m")


@pytest.mark.parametrize(
    ("rollout", "waited", "replaces", "look_in"),
    [
        ({}, 900, False, None),
        ({"fallback": "Replace"}, 5, False, 15.1),
        ({"fallback": "Replace"}, 20, True, None),
        ({"fallback": "Replace", "fallbackAfter": "1m30s"}, 60, False, 30.1),
        ({"strategy": "Recreate"}, 900, False, None),
    ],
    ids=["not allowed", "too early", "due", "more patience", "recreate makes room itself"],
)
def test_when_old_pods_give_way(
    model: Build, rollout: dict[str, str], waited: float, replaces: bool, look_in: float | None
) -> None:
    observed = Observed(deployment=rolled(), serving_pods=(pod("new", waits(seconds=waited)), OLD))
    found = rollout_of(model(rollout=rollout), observed, NOW)
    assert found.replaces is replaces
    assert found.look_in == pytest.approx(look_in)


@pytest.mark.parametrize(("idle", "replaces"), [(5, False), (20, True)])
def test_old_pods_that_do_not_serve_give_way_unasked(
    model: Build, idle: float, replaces: bool
) -> None:
    old = pod("old", answers(False, idle), node="n1")
    observed = Observed(deployment=rolled(), serving_pods=(pod("new", waits(seconds=60)), old))
    found = rollout_of(model(), observed, NOW)
    assert found.replaces is replaces
    assert (found.look_in is None) is replaces


REPLACING = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}, "type": "RollingUpdate"}


@pytest.mark.parametrize(
    ("status", "replaces"),
    [
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}, True),
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, False),
    ],
    ids=["until the new pod answers", "and then surges again"],
)
def test_giving_way_lasts_as_long_as_the_roll_out(
    model: Build, status: dict[str, int], replaces: bool
) -> None:
    live = rolled(REPLACING, **status)
    assert complete(live) is not replaces
    found = rollout_of(model(rollout={"fallback": "Replace"}), Observed(deployment=live), NOW)
    assert found.replaces is replaces


def test_a_fallback_of_recreate_is_refused(document: Callable[..., Manifest]) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.rollout\.fallback: is for strategy Surge"):
        parse(document(rollout={"strategy": "Recreate", "fallback": "Replace"}))


def test_a_paused_model_keeps_its_pods(model: Build, settings: Settings) -> None:
    paused = model(rollout={"paused": True}, recipe={"pooling": "cls"})
    resolved = model().model_copy(update={"resolved": THERE.resolved})
    live = {**stamped(deployment(resolved, settings)), "status": {}}
    observed = Observed(deployment=live)
    found = plan(paused, settings, observed, THERE, rollout=Rollout(paused=True))
    kinds = {each["kind"]: each for each in found.apply}
    assert "Deployment" not in kinds
    assert (found.paused, found.held) == (True, True)
    unchanged = plan(model(), settings, observed, THERE, rollout=Rollout(paused=True))
    assert (unchanged.paused, unchanged.held) == (True, False)


def test_a_paused_model_without_pods_gets_them(model: Build, settings: Settings) -> None:
    found = plan(model(), settings, Observed(), THERE, rollout=Rollout(paused=True))
    assert found.apply[-1]["kind"] == "Deployment"
    assert found.held is False


SETTLED = {"replicas": 1, "updatedReplicas": 1}


@pytest.mark.parametrize(
    ("held", "status", "expected"),
    [
        (True, SETTLED, ("False", "Paused", "a change waits for spec.rollout.paused")),
        (False, SETTLED, ("True", "Ready", "answers at http://minilm.search.svc; roll-outs are")),
        (False, {}, ("False", "Paused", "the roll-out is paused on its way")),
    ],
    ids=["a change waits", "nothing waits", "midway"],
)
def test_status_says_that_roll_outs_are_paused(
    model: Build, held: bool, status: dict[str, int], expected: tuple[str, str, str]
) -> None:
    observed = Observed(deployment=rolled(**status), serving_pods=(OLD,))
    found = conditions(model(), THERE, observed, NOW, rollout=Rollout(paused=True, held=held))[0]
    assert (found.status, str(found.reason)) == expected[:2]
    assert found.message.startswith(expected[2])


def test_a_pause_touches_nothing_else(model: Build) -> None:
    head = {"apiVersion": "apps/v1", "kind": "Deployment"}
    name = {"name": "minilm", "namespace": "search"}
    assert pause(model(), paused=True) == {
        **head,
        "metadata": {"annotations": {"kubeembed.dev/paused": "true"}, **name},
        "spec": {"paused": True},
    }
    assert pause(model(), paused=False) == {**head, "metadata": name, "spec": {}}
