"""A model follows its load, falls asleep when nobody asks, and a request wakes it; none is refused."""

import json
import threading
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import yaml

from nodekit import ROOT, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

#: Of a start from zero.
STAGES = ("total", "schedule", "pull", "weights", "import", "load", "warm")

TEXT = "A cat sleeps in the sun until somebody calls."


@dataclass
class Clients:
    """So many that ask all the time, each time over a connection of its own."""

    url: str
    count: int = 4
    answers: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Clients":
        for _ in range(self.count):
            self._threads.append(threading.Thread(target=self._ask))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(embed(self.url))
            except OSError as error:  # urllib's errors, refused and reset connections
                self.failures.append(f"{error} {getattr(error, 'code', '')}")


def embed(url: str) -> list[float]:
    body = json.dumps({"model": "sleepy", "input": TEXT}).encode()
    headers = {"Content-Type": "application/json", "Connection": "close"}
    request = urllib.request.Request(f"{url}/v1/embeddings", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return list(json.load(answer)["data"][0]["embedding"])


@pytest.fixture(scope="module")
def sleepy(shared_kube: Kube) -> Manifest:
    """examples/sleepy.yaml, in more of a hurry, Ready."""
    example = yaml.safe_load((ROOT / "examples" / "sleepy.yaml").read_text())
    scaling = {"min": 0, "max": 2, "idleAfter": "5s", "target": {"utilization": 10}}
    shared_kube.apply({**example, "spec": {**example["spec"], "scaling": scaling}})
    return shared_kube.wait_ready("sleepy")


@pytest.fixture(scope="module")
def url(shared_kube: Kube, sleepy: Manifest) -> str:
    return f"http://{shared_kube.get('service', 'sleepy')['spec']['clusterIP']}"


@pytest.fixture(scope="module")
def vector(url: str) -> np.ndarray:
    """The right one."""
    return np.array(until("an answer", lambda: embed(url), 30))


def replicas(kube: Kube) -> int:
    return int(kube.get("deployment", "sleepy")["spec"]["replicas"])


def leads(kube: Kube) -> bool:
    """Whether its Service leads to the gateway."""
    return kube.get("endpointslice", "sleepy-activator") is not None


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
        until("another replica", lambda: replicas(shared_kube) == 2, 60)
    check(clients, vector)


@pytest.mark.parametrize("moment", ["it sleeps", "it falls asleep"])
def test_nobody_is_refused_when(
    shared_kube: Kube, url: str, vector: np.ndarray, moment: str
) -> None:
    """They ask from that moment on until its pods answer alone."""
    kube = shared_kube
    if moment == "it sleeps":
        until("no replicas", lambda: replicas(kube) == 0, 90)
        assert kube.wait_reason("sleepy", "Ready", "Asleep", 20)["status"] == "True"
        assert kube.ctl("get", "em", "sleepy").splitlines()[1].split()[1:3] == ["True", "Asleep"]
    until("the gateway", lambda: leads(kube), 60)
    with Clients(url) as clients:
        until("the pods alone", lambda: not leads(kube) and replicas(kube) > 0, 120)
        before = len(clients.answers)
        until("their answers", lambda: len(clients.answers) > before + 8, 60)
    check(clients, vector)
    kube.wait_reason("sleepy", "Asleep", "Awake", 30)
    if moment == "it sleeps":
        told = until(
            "its start", lambda: kube.get("em", "sleepy")["status"].get("lastColdStart"), 30
        )
        assert told.keys() == {f"{stage}Seconds" for stage in STAGES}
        assert told["totalSeconds"] >= told["importSeconds"] > 0


def test_a_request_wakes_it_while_the_operator_is_down(
    shared_kube: Kube, installed: Kube, url: str, vector: np.ndarray
) -> None:
    """By its own address, and by the common one."""
    kube, operator = shared_kube, "deployment/kubeembed-operator"
    until("asleep", lambda: leads(kube) and replicas(kube) == 0, 90)
    until("no pod that still answers", lambda: not serving(kube), 60)
    installed.ctl("scale", operator, "--replicas=0")
    installed.ctl("rollout", "status", operator, "--timeout=60s")
    try:
        assert np.array(embed(url)) @ vector > 0.9999
        assert replicas(kube) == 1
        common = f"http://{installed.get('service', 'kubeembed-gateway')['spec']['clusterIP']}"
        assert np.array(embed(common)) @ vector > 0.9999
    finally:
        installed.ctl("scale", operator, "--replicas=2")
        installed.ctl("rollout", "status", operator, "--timeout=120s")
    until("the pods alone", lambda: not leads(kube), 60)
