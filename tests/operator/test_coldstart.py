"""What a start from zero took: whose start it was, and the stages that are told of it."""

import pytest

from kubeembed_api.report import RuntimeInfo, Startup
from kubeembed_operator.coldstart import awoken, cold_start
from kubeembed_operator.inquiry import Memory
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed
from kubeembed_operator.sleep import Step

SLICE = {"metadata": {"name": "minilm-activator", "creationTimestamp": "2026-11-24T12:00:00Z"}}
INFO = RuntimeInfo(
    name="minilm",
    dimensions=3,
    max_tokens=256,
    dtype="float32",
    device="cpu",
    fingerprint="f00d",
    startup=Startup(
        weights_seconds=0.0123, import_seconds=3.456, load_seconds=0.5, warm_seconds=0.25
    ),
)


def pod(name: str, made: str, ready: str = "True") -> Manifest:
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T12:00:11Z"},
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-24T12:00:19Z"},
    ]
    running = {"running": {"startedAt": "2026-11-24T12:00:13Z"}}
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": f"2026-11-24T12:00:{made}Z",
        },
        "status": {"conditions": conditions, "containerStatuses": [{"state": running}]},
    }


def test_every_stage_that_is_told() -> None:
    assert cold_start(pod("a", "10"), INFO) == {
        "totalSeconds": 9.0,
        "scheduleSeconds": 1.0,
        "pullSeconds": 2.0,
        "weightsSeconds": 0.01,
        "importSeconds": 3.46,
        "loadSeconds": 0.5,
        "warmSeconds": 0.25,
    }


def test_a_start_is_told_again_once_the_runtime_has_told_its_stages() -> None:
    mine, other = pod("a", "10"), pod("b", "11")
    memory = Memory(awoken=mine)
    memory.start_told([other, mine])
    assert memory.awoken == mine
    memory.own.infos["b 0"] = INFO
    memory.start_told([other, mine])
    assert memory.awoken == mine
    memory.own.infos["a 0"] = INFO
    memory.start_told([other, mine])
    assert memory.awoken is None


def test_a_start_is_not_told_again_once_its_pod_is_gone() -> None:
    memory = Memory(awoken=pod("a", "10"))
    memory.start_told([pod("b", "11")])
    assert memory.awoken is None


def test_what_nobody_tells_is_left_out() -> None:
    silent = {
        **pod("a", "10"),
        "status": {"conditions": pod("a", "10")["status"]["conditions"][1:]},
    }
    assert cold_start(silent, None) == {"totalSeconds": 9.0}


@pytest.mark.parametrize(
    ("pods", "step", "expected"),
    [
        ((pod("a", "10"),), Step(drop=SLICE, woken=True), "a"),
        ((pod("b", "12"), pod("a", "10")), Step(drop=SLICE, woken=True), "a"),
        ((pod("b", "12"), pod("a", "10", "False")), Step(drop=SLICE, woken=True), "b"),
        ((pod("old", "00"),), Step(drop=SLICE, woken=True), "old"),
        ((pod("a", "10"),), Step(), None),
        ((pod("a", "10"),), Step(drop=SLICE), None),
        ((), Step(drop=SLICE, woken=True), None),
    ],
    ids=[
        "it woke",
        "its first pod",
        "its first that is ready",
        "in the very second",
        "it was awake",
        "it may not sleep any more",
        "no pod",
    ],
)
def test_which_pod_ended_a_sleep(
    pods: tuple[Manifest, ...], step: Step, expected: str | None
) -> None:
    found = awoken(Observed(serving_pods=pods), step)
    assert (found and found["metadata"]["name"]) == expected


def test_a_model_that_was_asked_on_its_way_to_sleep_did_not_start() -> None:
    older = {**pod("a", "10"), "metadata": {"creationTimestamp": "2026-11-24T11:00:00Z"}}
    step = Step(drop=SLICE, woken=True)
    assert awoken(Observed(serving_pods=(older,)), step) is None
    assert awoken(Observed(serving_pods=(older, pod("b", "10"))), step) is None
