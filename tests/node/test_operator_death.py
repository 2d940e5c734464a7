"""The operator may die at any time: models converge, nothing is doubled, and settled ones cost no writes."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nodekit import Kube, Manifest, at_rest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

Model = Callable[..., Manifest]
ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}
KINDS = "deployments,services,configmaps,serviceaccounts"


def kill_operators(system: Kube) -> None:
    """SIGKILL by the kubelet, with no time to say goodbye."""
    system.ctl("delete", "pods", "-l", "app.kubernetes.io/component=operator", "--force", "--wait")


def leader(system: Kube) -> str:
    lease = system.get("lease", "kubeembed-operator")
    return str(lease["spec"]["holderIdentity"]) if lease else ""


def children(kube: Kube) -> list[str]:
    found = kube.list(KINDS)
    ours = [o for o in found if "kubeembed.dev/model" in o["metadata"].get("labels", {})]
    return sorted(f"{o['kind']}/{o['metadata']['name']}" for o in ours)


def fetched(kube: Kube) -> int:
    models = kube.list("em")
    conditions = [c for m in models for c in m.get("status", {}).get("conditions", ())]
    return len([c for c in conditions if (c["type"], c["reason"]) == ("WeightsReady", "Fetched")])


@dataclass
class Settled:
    """Fifty models that nobody touches since `since`, of time.monotonic(); `written` until then."""

    kube: Kube
    written: int
    since: float


@pytest.fixture(scope="module")
def settled(shared_kube: Kube, model: Model, writes: Callable[[str], list[str]]) -> Settled:
    shared_kube.apply(*(model(f"m{i:02}", **ASLEEP) for i in range(50)))
    until("fifty fetched", lambda: fetched(shared_kube) == 50, 900)
    until("fifty Deployments", lambda: len(shared_kube.list("deployments")) == 50, 120)
    written = at_rest(lambda: writes(shared_kube.namespace), 10)
    return Settled(shared_kube, len(written), time.monotonic())


@pytest.mark.usefixtures("settled")
def test_killed_while_twenty_models_are_made(kube: Kube, model: Model, installed: Kube) -> None:
    # tests/operator kills it at other moments; here the fetch Jobs are real

    names = [f"m{i:02}" for i in range(20)]
    kube.apply(*(model(name, **ASLEEP) for name in names))
    time.sleep(1)
    kill_operators(installed)
    until("twenty fetched", lambda: fetched(kube) == 20, 480)
    kinds = ("ConfigMap", "Deployment", "Service", "ServiceAccount")
    until(
        "all children",
        lambda: children(kube) == sorted(f"{k}/{n}" for k in kinds for n in names),
        120,
    )
    assert len(kube.fetches()) == 20


def test_a_model_deleted_while_the_operator_is_down_is_gone(
    kube: Kube, model: Model, installed: Kube
) -> None:
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    installed.ctl("scale", "deployment/kubeembed-operator", "--replicas=0")
    try:
        pods = ("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name")
        until("no operator", lambda: not installed.ctl(*pods), 120)
        kube.ctl("delete", "em", "minilm", "--timeout=60s")
        until("children gone", lambda: children(kube) == [], 120)
        assert kube.list("em") == []
    finally:
        installed.ctl("scale", "deployment/kubeembed-operator", "--replicas=2")
        installed.ctl("rollout", "status", "deployment/kubeembed-operator", "--timeout=300s")


def test_another_leads_after_the_lease(kube: Kube, model: Model, installed: Kube) -> None:
    old = until("a leader", lambda: leader(installed), 30)
    pod = old.split("_")[0]
    installed.ctl("delete", "pod", pod, "--force")
    assert installed.get("lease", "kubeembed-operator")["spec"]["leaseDurationSeconds"] == 13
    until("another leader", lambda: leader(installed) not in ("", old), 60)
    kube.apply(model(**ASLEEP))
    until("a condition", lambda: kube.condition("minilm"), 60)


def test_no_finalizer_anywhere(kube: Kube, model: Model) -> None:
    kube.apply(model(**ASLEEP))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    for thing in kube.list(f"em,jobs,{KINDS}"):
        ours = [f for f in thing["metadata"].get("finalizers", ()) if "kubernetes" not in f]
        assert ours == [], thing["metadata"]["name"]


def test_settled_models_cost_no_writes(
    settled: Settled, installed: Kube, writes: Callable[[str], list[str]]
) -> None:
    """For two minutes at least, in which all the above happened to the operator."""
    kill_operators(installed)
    time.sleep(max(20, settled.since + 120 - time.monotonic()))
    assert writes(settled.kube.namespace)[settled.written :] == []
