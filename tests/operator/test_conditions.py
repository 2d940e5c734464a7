"""What was observed -> conditions, as a table; and when status moves."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import Trouble
from kubeembed_api.reasons import Reason
from kubeembed_operator.conditions import conditions
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed
from kubeembed_operator.status import merged, status, status_of_problem
from kubeembed_operator.supported import Problem
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee", bytes=1))
COMING = Weights(request="r")
DENIED = Weights(request="r", trouble=Trouble(Reason.SOURCE_FORBIDDEN, "no access"))


def deployment(desired: int = 1, ready: int = 0, **fields: Any) -> Manifest:
    told = {"replicas": desired, "updatedReplicas": desired, "readyReplicas": ready, **fields}
    return {"metadata": {}, "spec": {"replicas": desired}, "status": told}


def crashing() -> Manifest:
    ended = {"exitCode": 1, "message": '{"reason": "InvalidRecipe", "message": "no pooling"}'}
    container = {"name": "runtime", "lastState": {"terminated": ended}}
    return {"metadata": {}, "status": {"containerStatuses": [container]}}


REFUSED = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}


@pytest.mark.parametrize(
    ("weights", "observed", "expected"),
    [
        (COMING, Observed(), ("Fetching", "Fetching", "Pending")),
        (DENIED, Observed(), ("SourceForbidden", "SourceForbidden", "Pending")),
        (THERE, Observed(), ("Pending", "Fetched", "Pending")),
        (THERE, Observed(deployment=deployment()), ("Starting", "Fetched", "Starting")),
        (
            THERE,
            Observed(deployment=deployment(), serving_pods=(crashing(),)),
            ("InvalidRecipe", "Fetched", "InvalidRecipe"),
        ),
        (
            THERE,
            Observed(deployment=deployment(conditions=[REFUSED])),
            ("PodsForbidden", "Fetched", "PodsForbidden"),
        ),
        (THERE, Observed(deployment=deployment(1, 1)), ("Ready", "Fetched", "Serving")),
        (
            THERE,
            Observed(deployment=deployment(2, 1), serving_pods=(crashing(),)),
            ("InvalidRecipe", "Fetched", "Serving"),
        ),
        (
            THERE,
            Observed(deployment=deployment(1, 1, replicas=2)),
            ("Starting", "Fetched", "Serving"),
        ),
        (COMING, Observed(deployment=deployment(1, 1)), ("Fetching", "Fetching", "Serving")),
        (
            THERE,
            Observed(deployment=deployment(0)),
            ("ScaledToZero", "Fetched", "ScaledToZero"),
        ),
    ],
    ids=[
        "just applied",
        "source refuses",
        "fetched",
        "starting",
        "crashing",
        "forbidden",
        "serving",
        "serving and one pod crashes",
        "rolling out",
        "another revision is fetched",
        "no replicas",
    ],
)
def test_reasons_of_what_was_observed(
    model: Build, weights: Weights, observed: Observed, expected: tuple[str, str, str]
) -> None:
    found = {each.type: each for each in conditions(model(), weights, observed, NOW)}
    reasons = tuple(str(found[name].reason) for name in ("Ready", "WeightsReady", "Available"))
    assert reasons == expected
    assert (found["Ready"].status == "True") == (expected[0] == "Ready")


LEAD = {"metadata": {}, "endpoints": [{"addresses": ["10.0.0.7"]}]}
WAKES = "asleep; a request to http://minilm.search.svc wakes it"


@pytest.mark.parametrize(
    ("observed", "ready", "reason", "message", "asleep"),
    [
        (Observed(deployment=deployment(0), activator=LEAD), "True", "Asleep", WAKES, "Asleep"),
        (
            Observed(deployment=deployment(0), activator={"metadata": {}}),
            "False",
            "GatewayNotReady",
            "asleep, and no pod of the gateway is ready to take requests; "
            "kubectl scale deploy/minilm --replicas=1 wakes it by hand",
            "Asleep",
        ),
        (
            Observed(deployment=deployment(1), activator=LEAD),
            "False",
            "Starting",
            "pods are starting; requests are held until one is ready",
            "Awake",
        ),
        (
            Observed(deployment=deployment(1, 1), activator=LEAD),
            "True",
            "Ready",
            "answers at http://minilm.search.svc",
            "Awake",
        ),
    ],
    ids=["asleep", "nobody wakes it", "it wakes", "awake"],
)
def test_a_model_that_may_sleep_says_who_wakes_it(
    model: Build, observed: Observed, ready: str, reason: str, message: str, asleep: str
) -> None:
    built = model(scaling={"min": 0, "idleAfter": "5m"})
    found = {each.type: each for each in conditions(built, THERE, observed, NOW)}
    told = found["Ready"]
    assert (told.status, str(told.reason), told.message) == (ready, reason, message)
    assert str(found["Asleep"].reason) == asleep
    if asleep == "Asleep":
        assert found["Asleep"].message == "nobody asked for 5m; the next request wakes it"


def test_the_whole_status_of_a_model_that_serves(model: Build) -> None:
    observed = Observed(deployment=deployment(2, 2))
    found = conditions(model(), THERE, observed, NOW)
    told = status(
        model(), {}, found, weights=THERE, observed=observed, progress=None, infos=(), now=NOW
    )
    assert told["conditions"][0] == {
        "lastTransitionTime": "2026-11-24T12:00:00Z",
        "message": "answers at http://minilm.search.svc",
        "observedGeneration": 3,
        "reason": "Ready",
        "status": "True",
        "type": "Ready",
    }
    assert {name: value for name, value in told.items() if name != "conditions"} == {
        "endpoint": "http://minilm.search.svc",
        "observedGeneration": 3,
        "replicas": {"desired": 2, "ready": 2, "summary": "2/2"},
        "selector": "app.kubernetes.io/component=serving,kubeembed.dev/model=minilm",
        "weights": {"bytes": 1, "key": "k", "request": "r", "revision": "c0ffee"},
    }


def test_a_second_look_at_the_same_says_the_same(model: Build) -> None:
    observed = Observed(deployment=deployment(1, 1))
    before: dict[str, Any] = {}
    for later in (NOW, NOW.replace(hour=13)):
        found = conditions(model(), THERE, observed, later)
        told = status(
            model(),
            before,
            found,
            weights=THERE,
            observed=observed,
            progress=None,
            infos=(),
            now=later,
        )
        assert before in ({}, told)
        before = told


def test_the_time_of_a_transition_moves_with_the_status_alone(model: Build) -> None:
    first = conditions(model(), COMING, Observed(), NOW)
    before = merged([], first, 3, NOW)
    later = NOW.replace(hour=13)
    denied = merged(before, conditions(model(), DENIED, Observed(), later), 3, later)
    assert {each["lastTransitionTime"] for each in denied} == {"2026-11-24T12:00:00Z"}
    serving = Observed(deployment=deployment(1, 1))
    after = merged(denied, conditions(model(), THERE, serving, later), 3, later)
    moved = {each["type"] for each in after if each["lastTransitionTime"].endswith("13:00:00Z")}
    assert moved == {"Ready", "WeightsReady", "Available"}


def test_a_wrong_document_changes_ready_and_leaves_the_rest(model: Build) -> None:
    observed = Observed(deployment=deployment(1, 1))
    before = status(
        model(),
        {},
        conditions(model(), THERE, observed, NOW),
        weights=THERE,
        observed=observed,
        progress=None,
        infos=(),
        now=NOW,
    )
    told = status_of_problem(before, Problem(Reason.INVALID_SPEC, "spec.x: no"), 4, NOW)
    assert told["conditions"][0]["reason"] == "InvalidSpec"
    assert told["conditions"][1:] == before["conditions"][1:]
    assert told["observedGeneration"] == 4
    assert told["weights"] == before["weights"]
