"""To sleep and back, a step for each state that objects can be in; and the slice, by its whole value."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_operator.kinds import ENDPOINT_SLICE, Manifest
from kubeembed_operator.manifests.activation import activator_slice
from kubeembed_operator.manifests.metadata import stamp
from kubeembed_operator.observed import Observed, Serving, observe
from kubeembed_operator.plan import plan
from kubeembed_operator.settings import Settings
from kubeembed_operator.sleep import Demand, Step, step
from kubeembed_operator.store import Store
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
AT = ("10.0.0.7", "10.0.0.8")
SLEEPY = {"min": 0, "max": 4, "idleAfter": "1m"}
QUIET = Demand(idle=frozenset({"pod"}), gateways=AT, port=20001)
SCHEDULED = Demand(least=2, idle=frozenset({"pod"}), gateways=AT, port=20001)
ASKED = Demand(gateways=AT, port=20001)


def deployment(replicas: int, asked: str = "automatic", **status: int) -> Manifest:
    told = {"replicas": replicas, "updatedReplicas": replicas, **status}
    annotations = {"kubeembed.dev/replicas": asked}
    return {
        "metadata": {"annotations": annotations},
        "spec": {"replicas": replicas},
        "status": told,
    }


def pod(uid: str = "pod", ready: str = "True") -> Manifest:
    return {
        "metadata": {"uid": uid},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def made(seconds: float) -> Manifest:
    """The slice, so many seconds ago."""
    at = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": "minilm-activator", "creationTimestamp": at}}


def scaled(deleted: float | None = None) -> Manifest:
    """KEDA's object, which is being deleted since so many seconds."""
    if deleted is None:
        return {"metadata": {}}
    at = (NOW - timedelta(seconds=deleted)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"deletionTimestamp": at}}


def awake(**more: Any) -> Observed:
    return Observed(
        **{"deployment": deployment(1), "serving_pods": (pod(),), "answered": True, **more}
    )


def test_the_slice_leads_to_the_ready_pods_of_the_gateway(model: Build) -> None:
    made = activator_slice(model(), 20001, ("10.0.0.8", "10.0.0.7"))
    assert made.pop("metadata") == {
        "name": "minilm-activator",
        "namespace": "search",
        "labels": {
            "app.kubernetes.io/component": "gateway",
            "app.kubernetes.io/instance": "minilm",
            "app.kubernetes.io/managed-by": "kubeembed",
            "app.kubernetes.io/name": "embeddingmodel",
            "endpointslice.kubernetes.io/managed-by": "gateway.kubeembed.dev",
            "kubeembed.dev/model": "minilm",
            "kubernetes.io/service-name": "minilm",
        },
        "ownerReferences": [
            {
                "apiVersion": "kubeembed.dev/v1alpha1",
                "blockOwnerDeletion": False,
                "controller": True,
                "kind": "EmbeddingModel",
                "name": "minilm",
                "uid": "7d5b2a60-0000-4000-8000-000000000001",
            }
        ],
    }
    assert made == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.7"], "conditions": {"ready": True}},
            {"addresses": ["10.0.0.8"], "conditions": {"ready": True}},
        ],
        "ports": [{"name": "http", "port": 20001, "protocol": "TCP"}],
    }


LEAD = "lead"
SWITCHED = {"spec": {"selector": {"app.kubernetes.io/component": "next"}}}


@pytest.mark.parametrize(
    ("labels", "ready", "expected"),
    [
        ({"kubernetes.io/service-name": "minilm"}, True, True),
        ({"kubernetes.io/service-name": "minilm"}, False, False),
        ({"kubernetes.io/service-name": "minilm-next"}, True, False),
        (
            {
                "kubernetes.io/service-name": "minilm",
                "endpointslice.kubernetes.io/managed-by": "gateway.kubeembed.dev",
            },
            True,
            False,
        ),
    ],
    ids=["a pod is ready", "none is", "one of another Service is", "the gateway is"],
)
def test_who_answers(model: Build, labels: dict[str, str], ready: bool, expected: bool) -> None:
    store = Store()
    metadata = {"name": "s", "namespace": "search", "uid": "s", "resourceVersion": "1"}
    endpoints = [{"addresses": ["10.0.0.7"], "conditions": {"ready": ready}}]
    told = {**metadata, "labels": {"kubeembed.dev/model": "minilm", **labels}}
    store.put(ENDPOINT_SLICE, {"metadata": told, "endpoints": endpoints})
    assert observe(store, model()).answered is expected


@pytest.mark.parametrize(
    ("observed", "demand", "expected"),
    [
        (Observed(), ASKED, {"replicas": 1}),
        (awake(), ASKED, {}),
        (awake(), QUIET, {"lead": LEAD, "look_in": 4.0}),
        (awake(activator=made(3)), QUIET, {"lead": LEAD, "look_in": 1.0}),
        (awake(activator=made(4)), QUIET, {"lead": LEAD, "replicas": 0}),
        (awake(activator=made(9)), ASKED, {"drop": made(9), "woken": True}),
        (awake(deployment=deployment(2, updatedReplicas=1)), QUIET, {}),
        (awake(service=SWITCHED, next=Serving(deployment=deployment(1))), QUIET, {}),
        (awake(serving_pods=(pod(), pod("other"))), QUIET, {}),
        (awake(serving_pods=(pod(), pod("other", "False"))), QUIET, {"lead": LEAD, "look_in": 4.0}),
        (awake(serving_pods=(pod(ready="False"),), answered=False), QUIET, {}),
        (awake(), Demand(idle=frozenset({"pod"}), gateways=(), port=20001), {}),
        (awake(), Demand(idle=frozenset({"pod"}), port=20001), {}),
        (Observed(deployment=deployment(0), activator=made(60)), ASKED, {"lead": LEAD}),
        (Observed(deployment=deployment(0)), ASKED, {"lead": LEAD}),
        (Observed(deployment=deployment(0), activator=made(60)), Demand(port=20001), {}),
        (
            Observed(deployment=deployment(1), activator=made(60), serving_pods=(pod(),)),
            ASKED,
            {"lead": LEAD},
        ),
        (awake(activator=made(60)), ASKED, {"drop": made(60), "woken": True}),
        (Observed(), SCHEDULED, {"replicas": 2}),
        (
            Observed(deployment=deployment(0), activator=made(60)),
            SCHEDULED,
            {"replicas": 2, "lead": LEAD},
        ),
        (awake(deployment=deployment(2)), SCHEDULED, {}),
        (
            awake(deployment=deployment(2), activator=made(3)),
            SCHEDULED,
            {"drop": made(3), "woken": True},
        ),
    ],
    ids=[
        "applied: it begins awake",
        "asked",
        "idle: the gateway first",
        "and no pods once every node knows of it",
        "then",
        "asked again on the way down",
        "idle while it rolls out",
        "idle while others answer for it",
        "one of two is idle",
        "idle, and another is not ready",
        "not ready: nothing counts",
        "no gateway is ready",
        "nobody knows yet where the gateway is",
        "asleep",
        "asleep, and somebody deleted the slice",
        "asleep, and nobody knows yet where the gateway is",
        "it wakes: a pod is ready, and Kubernetes does not list it yet",
        "it is awake",
        "applied while a schedule is in force",
        "asleep, and a schedule begins",
        "idle while a schedule is in force",
        "on the way down when one begins",
    ],
)
def test_a_model_that_may_sleep(
    model: Build, observed: Observed, demand: Demand, expected: dict[str, Any]
) -> None:
    _check(model(scaling=SLEEPY), observed, demand, expected)


def _check(
    built: EmbeddingModel, observed: Observed, demand: Demand, expected: dict[str, Any]
) -> None:
    if expected.get("lead") == LEAD:
        expected = {**expected, "lead": activator_slice(built, 20001, AT)}
    assert step(built, observed, demand, NOW) == Step(**expected)


BY_KEDA = {"mode": "KEDA", "min": 0, "max": 4, "idleAfter": "1m"}


@pytest.mark.parametrize(
    ("observed", "demand", "expected"),
    [
        (Observed(), ASKED, {}),
        (awake(), ASKED, {}),
        (awake(), QUIET, {"lead": LEAD, "look_in": 4.0}),
        (awake(activator=made(9)), QUIET, {"lead": LEAD}),
        (awake(activator=made(9)), ASKED, {"drop": made(9), "woken": True}),
        (Observed(deployment=deployment(0, "KEDA")), ASKED, {"lead": LEAD}),
        (Observed(deployment=deployment(0, "KEDA")), SCHEDULED, {"lead": LEAD}),
    ],
    ids=[
        "applied",
        "asked",
        "idle: the gateway first",
        "and KEDA takes the pods",
        "asked again",
        "asleep",
        "asleep, and a schedule begins, which KEDA has as well",
    ],
)
def test_a_model_that_may_sleep_by_keda(
    model: Build, observed: Observed, demand: Demand, expected: dict[str, Any]
) -> None:
    """No step has a number."""
    _check(model(scaling=BY_KEDA), observed, demand, expected)


def test_a_model_does_not_lose_its_pods_while_keda_may_still_write_their_number(
    model: Build,
) -> None:
    observed = awake(activator=made(9), scaled_object=scaled(1))
    found = step(model(scaling=SLEEPY), observed, QUIET, NOW)
    assert (found.replicas, found.lead is not None) == (None, True)


@pytest.mark.parametrize(
    ("scaling", "observed", "expected"),
    [
        ({}, awake(deployment=deployment(1, "1")), {}),
        ({}, awake(deployment=deployment(3, "1")), {}),
        ({"min": 2, "max": 2}, awake(deployment=deployment(1, "1")), {"replicas": 2}),
        ({"min": 2, "max": 2}, awake(deployment=deployment(1)), {"replicas": 2}),
        ({"min": 1, "max": 4}, awake(), {"replicas": 3}),
        ({"min": 1, "max": 4}, awake(deployment=deployment(3)), {}),
        ({"min": 1, "max": 4}, awake(deployment=deployment(3, "3")), {"replicas": 3}),
        ({"min": 1, "max": 2}, awake(), {"replicas": 2}),
        (
            {"min": 1, "max": 4},
            Observed(deployment=deployment(0), activator=made(60)),
            {"replicas": 3},
        ),
        (
            {"min": 1, "max": 4},
            awake(deployment=deployment(3), activator=made(60)),
            {"drop": made(60)},
        ),
        ({"mode": "KEDA", "min": 2, "max": 4}, awake(deployment=deployment(1, "1")), {}),
        ({"mode": "KEDA", "min": 2, "max": 4}, Observed(), {}),
        (
            {"mode": "KEDA", "max": 4},
            Observed(deployment=deployment(0, "KEDA"), activator=made(60)),
            {},
        ),
        ({"min": 1, "max": 1}, awake(deployment=deployment(4, "KEDA")), {"replicas": 1}),
        ({"min": 1, "max": 4}, awake(deployment=deployment(3, "KEDA")), {"replicas": 3}),
        ({"mode": "External"}, awake(deployment=deployment(4, "KEDA")), {}),
        (
            {"min": 1, "max": 1},
            awake(deployment=deployment(4, "KEDA"), scaled_object=scaled()),
            {},
        ),
        (
            {"min": 1, "max": 1},
            awake(deployment=deployment(4, "KEDA"), scaled_object=scaled(19)),
            {},
        ),
        (
            {"min": 1, "max": 1},
            awake(deployment=deployment(4, "KEDA"), scaled_object=scaled(20)),
            {"replicas": 1},
        ),
        ({"mode": "External"}, awake(deployment=deployment(7, "1")), {}),
        ({"mode": "External", "replicas": 0}, awake(), {"replicas": 0}),
        (
            {"mode": "External", "replicas": 0},
            Observed(deployment=deployment(0, "0"), activator=made(60)),
            {"drop": made(60)},
        ),
    ],
    ids=[
        "as the document says",
        "somebody scaled it",
        "another number in the document",
        "a number after none",
        "what the load asks for",
        "which it has",
        "which nobody owns yet",
        "within the bounds",
        "a sleeping model that may not sleep any more",
        "and is awake",
        "KEDA scales it",
        "and begins with what a Deployment has",
        "and wakes what may not sleep any more, with the gateway behind it",
        "a number after KEDA",
        "by the load after KEDA",
        "others after KEDA",
        "KEDA is not told yet",
        "and has not let go yet",
        "and does not let go",
        "others scale it",
        "others, after us",
        "others, while it sleeps",
    ],
)
def test_a_model_that_may_not_sleep(
    model: Build, scaling: dict[str, Any], observed: Observed, expected: dict[str, Any]
) -> None:
    demand = Demand(replicas=3, idle=frozenset({"pod"}), gateways=AT)
    assert step(model(scaling=scaling), observed, demand, NOW) == Step(**expected)


def test_a_plan_applies_the_slice_and_lets_it_go(model: Build, settings: Settings) -> None:
    built = model(scaling=SLEEPY)
    there = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))
    lead = activator_slice(built, 20001, AT)
    due = Step(lead=lead, replicas=0)
    found = plan(built, settings, awake(), there, step=due, activator_port=20001)
    [applied] = [each for each in found.apply if each["kind"] == "EndpointSlice"]
    assert applied["endpoints"] == lead["endpoints"]
    assert stamp(applied) is not None
    [service] = [each for each in found.apply if each["kind"] == "Service"]
    assert service["metadata"]["annotations"]["kubeembed.dev/activator-port"] == "20001"
    assert found.replicas == 0
    gone = plan(built, settings, awake(), there, step=Step(drop=made(9)))
    assert gone.delete == ((ENDPOINT_SLICE, made(9)),)
