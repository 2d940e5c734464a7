"""A model follows its load, falls asleep when nobody asks, and a request wakes it; none is refused."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from askkit import TEXT, Clients, embed
from clientkit import python, tour
from nodekit import Kube, Manifest, until
from sleepkit import address, apply_sleepy, leads, replicas

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

#: Of a start from zero.
STAGES = ("total", "schedule", "pull", "weights", "import", "load", "warm")


@pytest.fixture(scope="module")
def sleepy(shared_kube: Kube) -> Manifest:
    """examples/sleepy.yaml, in more of a hurry, Ready."""
    return apply_sleepy(shared_kube, max=2, target={"utilization": 10})


@pytest.fixture(scope="module")
def url(shared_kube: Kube, sleepy: Manifest) -> str:
    return address(shared_kube)


@pytest.fixture(scope="module")
def others(shared_kube: Kube, model: Callable[..., Manifest]) -> dict[str, list[float]]:
    """Two other models, and their vectors from their own addresses."""
    for name in ("near", "far"):
        shared_kube.apply(model(name, "hf://acme/other", model={"revision": name}))
    found = {}
    for name in ("near", "far"):
        shared_kube.wait_ready(name)
        found[name] = embed(address(shared_kube, name), name)
    assert abs(np.dot(*found.values())) < 0.99
    return found


@pytest.fixture(scope="module")
def vector(url: str) -> np.ndarray:
    """The right one."""
    return np.array(until("an answer", lambda: embed(url), 60))


def asleep(kube: Kube) -> None:
    """Until it is, and its last pod is gone."""
    until("asleep", lambda: leads(kube) and replicas(kube) == 0, 180)
    until("no pod that still answers", lambda: not serving(kube), 120)


def serving(kube: Kube) -> bool:
    """Whether a pod is there; one that ends goes on answering for a while."""
    listed = kube.ctl("get", "pods", "-l", "app.kubernetes.io/component=serving", "-o", "name")
    return "pod/sleepy" in listed


def check(clients: Clients, vector: np.ndarray) -> None:
    assert clients.failures == []
    assert len(clients.answers) > 0
    assert min(np.array(clients.answers) @ vector) > 0.9999


def test_it_follows_the_load(shared_kube: Kube, url: str, vector: np.ndarray) -> None:
    assert replicas(shared_kube) == 1
    with Clients(url) as clients:
        until("another replica", lambda: replicas(shared_kube) == 2, 180)
    check(clients, vector)


def test_nobody_is_refused_from_its_sleep_on(
    shared_kube: Kube, url: str, vector: np.ndarray
) -> None:
    """They ask until its pods answer alone."""
    kube = shared_kube
    asleep(kube)
    assert kube.wait_reason("sleepy", "Ready", "Asleep", 60)["status"] == "True"
    assert kube.ctl("get", "em", "sleepy").splitlines()[1].split()[1:3] == ["True", "Asleep"]
    with Clients(url) as clients:
        until("the pods alone", lambda: not leads(kube) and replicas(kube) > 0, 240)
        before = len(clients.answers)
        until("their answers", lambda: len(clients.answers) > before + 8, 120)
    check(clients, vector)
    kube.wait_reason("sleepy", "Asleep", "Awake", 60)
    told = until("its start", lambda: kube.get("em", "sleepy")["status"].get("lastColdStart"), 60)
    assert told.keys() == {f"{stage}Seconds" for stage in STAGES}
    assert told["totalSeconds"] >= told["importSeconds"] > 0


def test_a_request_wakes_it_while_the_operator_is_down(
    shared_kube: Kube, installed: Kube, url: str, vector: np.ndarray
) -> None:
    """By its own address, and by the common one."""
    kube, operator = shared_kube, "deployment/kubeembed-operator"
    asleep(kube)
    installed.ctl("scale", operator, "--replicas=0")
    installed.ctl("rollout", "status", operator, "--timeout=180s")
    try:
        assert np.array(embed(url)) @ vector > 0.9999
        assert replicas(kube) == 1
        assert np.array(embed(address(installed, "kubeembed-gateway"))) @ vector > 0.9999
    finally:
        installed.ctl("scale", operator, "--replicas=2")
        installed.ctl("rollout", "status", operator, "--timeout=300s")
    until(
        "the pods alone", lambda: embed(url) and not leads(kube), 120
    )  # idle, it falls asleep again


@pytest.mark.parametrize(("client", "script"), [("sie", "many_sie"), ("http", "many_openai")])
def test_a_client_asks_three_models_at_one_address_and_one_of_them_sleeps(
    shared_kube: Kube,
    installed: Kube,
    others: dict[str, list[float]],
    vector: np.ndarray,
    client: str,
    script: str,
) -> None:
    asleep(shared_kube)
    python(client)
    names = ("near", "sleepy", "far")
    told = tour(client, script, address(installed, "kubeembed-gateway"), TEXT, *names)
    right = {**others, "sleepy": vector}
    for name, found in json.loads(told).items():
        assert np.dot(found, right[name]) > 0.9999
    assert set(json.loads(told)) == set(names)
