"""Hand edits of children are undone, a scaler's are not, and nothing of a deleted model stays."""

from collections.abc import Callable

import pytest

from nodekit import Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Model = Callable[..., Manifest]
ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}


@pytest.fixture
def settled(kube: Kube, model: Model) -> Kube:
    kube.apply(model(**ASLEEP))
    until("Deployment", lambda: kube.get("deployment", "minilm"), 180)
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 180)
    return kube


def test_an_edited_service_is_restored(settled: Kube) -> None:
    before = settled.get("service", "minilm")["spec"]
    settled.patch("service", "minilm", {"spec": {"selector": {"app": "mine"}}})
    until("all of it", lambda: settled.get("service", "minilm")["spec"] == before, 60)


def test_an_edited_network_policy_is_restored(settled: Kube) -> None:
    before = settled.get("networkpolicy", "minilm")["spec"]
    assert before["ingress"][0]["from"]
    settled.patch("networkpolicy", "minilm", {"spec": {"ingress": [{}]}})
    until("rules", lambda: settled.get("networkpolicy", "minilm")["spec"] == before, 60)


def test_an_edited_deployment_is_restored(settled: Kube) -> None:
    def image() -> str:
        pod = settled.get("deployment", "minilm")["spec"]["template"]["spec"]
        return str(pod["containers"][0]["image"])

    before = image()
    settled.ctl("set", "image", "deployment/minilm", "*=localhost/mine:1")
    until("image", lambda: image() == before, 60)


@pytest.mark.parametrize(
    "kind", ["deployment", "service", "configmap", "serviceaccount", "networkpolicy", "pdb"]
)
def test_a_deleted_child_is_restored(settled: Kube, kind: str) -> None:
    before = settled.get(kind, "minilm")["metadata"]["uid"]
    settled.ctl("delete", kind, "minilm", "--wait=false")

    def restored() -> bool:
        found = settled.get(kind, "minilm")
        return bool(found) and found["metadata"]["uid"] != before

    until(kind, restored, 60)


def test_replicas_belong_to_whoever_scales(settled: Kube) -> None:
    settled.ctl("scale", "deployment/minilm", "--replicas=2")
    settled.patch("service", "minilm", {"spec": {"selector": {"app": "mine"}}})
    until("a pass", lambda: "app" not in settled.get("service", "minilm")["spec"]["selector"], 60)
    assert settled.get("deployment", "minilm")["spec"]["replicas"] == 2


def test_the_scale_subresource_scales(settled: Kube) -> None:
    settled.ctl("scale", "em/minilm", "--replicas=1")
    until("replicas", lambda: settled.get("deployment", "minilm")["spec"]["replicas"] == 1, 60)


def test_what_belongs_to_someone_else_is_never_touched(kube: Kube, model: Model) -> None:
    kube.ctl("create", "service", "clusterip", "minilm", "--tcp=80:80")
    before = kube.get("service", "minilm")["metadata"]["resourceVersion"]
    kube.apply(model(**ASLEEP))
    taken = kube.wait_reason("minilm", "Ready", "NameTaken", 120)
    assert "Service" in taken["message"]
    assert kube.get("service", "minilm")["metadata"]["resourceVersion"] == before
    kube.ctl("delete", "service", "minilm")
    # what is not ours is not watched, so its end is found at the next look
    until("our Service", lambda: kube.get("service", "minilm"), 60)


def test_nothing_of_a_deleted_model_stays_but_the_copy(settled: Kube) -> None:
    settled.ctl("delete", "em", "minilm")

    def gone() -> bool:
        left = settled.list(
            "deployments,services,configmaps,serviceaccounts,jobs,pods,networkpolicies,pdb"
        )
        return not [o for o in left if o["metadata"].get("labels", {}).get("kubeembed.dev/model")]

    until("children gone", gone, 120)
    assert settled.get("pvc", "kubeembed-weights")
