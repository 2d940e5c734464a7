"""The figure that KEDA is told: in proportion, careful with what is not known, and 0 for sleep alone."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeembed_api.report import Load
from kubeembed_api.scaling import Target
from kubeembed_operator.autoscaler import ROUNDING, Figure, proposal
from kubeembed_operator.kedaload import load_of, sleeps
from kubeembed_operator.kinds import Manifest

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
TARGET = Target(utilization=70, queue_seconds=0.5)


def figure(utilization: float, queue_seconds: float = 0.0) -> Figure:
    return Figure(utilization=utilization, queue_seconds=queue_seconds)


@pytest.mark.parametrize(
    ("replicas", "told", "missing", "expected"),
    [
        (1, [figure(70)], 0, 100.0),
        (2, [figure(35), figure(35)], 0, 100.0),
        (1, [figure(7, queue_seconds=2.0)], 0, 400.0),
        (2, [figure(70), figure(14, queue_seconds=0.5)], 0, 200.0),
        (2, [figure(0), figure(0)], 0, 1.0),
        (3, [], 3, 300.0),
        (1, [], 0, 100.0),
        (2, [figure(35)], 1, 150.0),
        (2, [figure(35)], 0, 50.0),
        (3, [figure(140)], 2, 300.0),
        (2, [figure(210)], 1, 300.0),
        (2, [figure(35), figure(35)], 1, 200.0),
    ],
    ids=[
        "at the target",
        "half of it",
        "the queue is the larger",
        "each pod by its larger one",
        "asked for nothing, and awake",
        "nobody tells",
        "not ready yet",
        "one tells nothing, the other has little",
        "one is not ready, the other has little",
        "one has much, and two tell nothing",
        "one has very much, and one tells nothing",
        "never more than stays, for what is not known",
    ],
)
def test_load_of(replicas: int, told: list[Figure], missing: int, expected: float) -> None:
    assert load_of(TARGET, replicas, told, missing) == pytest.approx(expected)


def autoscaler(load: float, replicas: int) -> int:
    """KEDA's: the figure divided by 100, rounded up, unless it is within 10 % of what there is."""
    near = abs(load / (100 * replicas) - 1) <= 0.1 + ROUNDING
    return replicas if near else math.ceil(load / 100 - ROUNDING)


shares = st.lists(st.floats(0, 20), min_size=1, max_size=6)


@given(told=shares)
def test_where_all_pods_tell_the_number_is_the_builtin_one_s(told: list[float]) -> None:
    load = load_of(TARGET, len(told), [figure(70 * share) for share in told], 0)
    wanted = proposal(len(told), told, 0, 0, 1.0)
    assert wanted is not None
    assert autoscaler(load, len(told)) == max(wanted, 1)


@given(told=shares, missing=st.integers(0, 3), unready=st.integers(0, 3))
def test_where_some_do_not_it_never_goes_the_other_way(
    told: list[float], missing: int, unready: int
) -> None:
    replicas = len(told) + missing + unready
    load = load_of(TARGET, replicas, [figure(70 * share) for share in told], missing)
    wanted = proposal(replicas, told, missing, unready, 1.0)
    assert wanted is not None
    assert load > 0
    assert (autoscaler(load, replicas) - replicas) * (wanted - replicas) >= 0


def pod(uid: str = "pod") -> Manifest:
    return {"metadata": {"uid": uid}}


def load(idle_seconds: float, in_flight: int = 0) -> Load:
    return Load(
        busy_seconds=1,
        queued_tokens=0,
        in_flight=in_flight,
        tokens=1,
        idle_seconds=idle_seconds,
        up_seconds=900,
    )


def deployment(**status: int) -> Manifest:
    return {"status": {"replicas": 1, "updatedReplicas": 1, **status}}


def activator(seconds: float, *addresses: str) -> Manifest:
    at = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    endpoints = [{"addresses": [address]} for address in addresses]
    return {"metadata": {"creationTimestamp": at}, "endpoints": endpoints}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"pods": []}, False),
        ({"pods": [pod(), pod("other")]}, False),
        ({"told": [load(599)]}, False),
        ({"told": [load(700, in_flight=1)]}, False),
        ({"pods": [pod(), pod("b")], "told": [load(700), load(1)]}, False),
        ({"deployment": deployment(replicas=2)}, False),
        ({"activator": None}, False),
        ({"activator": activator(3, "10.0.0.7")}, False),
        ({"activator": activator(9)}, False),
        ({"gateways": ["10.0.0.8"]}, False),
        ({"gateways": []}, False),
        ({"gateways": ["10.0.0.7", "10.0.0.8"]}, True),
    ],
    ids=[
        "nobody asks",
        "no pod is ready",
        "one tells nothing",
        "asked lately",
        "asked now",
        "one of two is asked",
        "rolling out",
        "the gateway is not behind the Service",
        "not every node knows yet that it is",
        "none of it is",
        "it is another one by now",
        "none is ready",
        "one of two is behind the Service",
    ],
)
def test_it_sleeps_once_the_gateway_is_there(change: dict[str, Any], expected: bool) -> None:
    given: dict[str, Any] = {
        "deployment": deployment(),
        "pods": [pod()],
        "told": [load(600)],
        "idle_seconds": 600,
        "activator": activator(4, "10.0.0.7"),
        "gateways": ["10.0.0.7"],
        "now": NOW,
    }
    assert sleeps(**{**given, **change}) is expected
