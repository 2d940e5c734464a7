"""Mode KEDA against the real API server: KEDA comes, scales and lets go. The test does what KEDA does."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadedkit import NOWHERE, Server, gateway_pod, make_ready
from nodekit import Kube, Manifest, until
from operatorkit import SETTINGS, Operators, Process, make_fetched, model, scaled

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

SERVING = "app.kubernetes.io/component=serving"
GATEWAY = {"app.kubernetes.io/component": "gateway"}
GATEWAY_POD = "app.kubernetes.io/component=gateway,!kubeembed.dev/model"
FINALIZER = {"metadata": {"finalizers": ["finalizer.keda.sh"]}}
SCALING = {"mode": "KEDA", "min": 0, "max": 3, "idleAfter": "5s"}


def definition() -> Manifest:
    """Of ScaledObjects, as far as it matters here; tests/node has KEDA's own."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": anything},
    }
    names = {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "names": names, "scope": "Namespaced", "versions": [version]},
    }


@pytest.fixture
def operators(kube: Kube, tmp_path: Path) -> Iterator[Operators]:
    settings = {
        **SETTINGS,
        "profiles": {"cpu": NOWHERE},
        "gateway": {"namespace": kube.namespace, "labels": GATEWAY},
        "keda": {"url": "http://operator.test"},
    }
    made = Operators(kube, tmp_path, settings)
    yield made
    made.end()
    kube.ctl("delete", "crd", "scaledobjects.keda.sh", "--ignore-not-found", "--wait=false")


def replicas(kube: Kube) -> int:
    return int((kube.get("deploy", "m") or {"spec": {"replicas": -1}})["spec"]["replicas"])


def asked(kube: Kube, process: Process) -> float:
    """What the trigger's address answers, on that operator; -1 for an error, after which KEDA asks again."""
    trigger = kube.get("scaledobject", "m")["spec"]["triggers"][0]["metadata"]
    parts = urlsplit(trigger["url"])
    url = f"http://127.0.0.1:{process.port}{parts.path}?{parts.query}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return float(json.load(answer)[trigger["valueLocation"]])
    except urllib.error.HTTPError:
        return -1.0


def tell(kube: Kube, status: str, reason: str) -> None:
    """As KEDA tells of the ScaledObject."""
    condition = {"type": "Ready", "status": status, "reason": reason, "message": "told by a test"}
    change = json.dumps({"status": {"conditions": [condition]}})
    words = ("patch", "scaledobject", "m", "--type=merge", "--subresource=status")
    kube.ctl(*words, "-p", change)


def test_keda_comes_and_scales_and_goes_and_the_operator_writes_no_number_meanwhile(
    kube: Kube, operators: Operators, pods: Server
) -> None:
    make_fetched(kube, model("m", weights={"cache": "Ephemeral"}, scaling=SCALING))
    leader = operators.start()
    until("a pod", lambda: make_ready(kube, SERVING) == 1, 60)
    kube.wait_reason("m", "Ready", "KedaNotInstalled", 60)

    kube.apply(definition())
    kube.until_defined("scaledobjects.keda.sh")
    until("a ScaledObject", lambda: kube.get("scaledobject", "m"), 60)
    kube.patch("scaledobject", "m", FINALIZER)
    tell(kube, "True", "ScaledObjectReady")
    kube.wait_ready("m", 60)

    follower = operators.start("two", leads=False)
    until("nothing to do", lambda: asked(kube, follower) == 1.0, 60)  # once the pod has told
    pods.busy = 1.0
    until("its load", lambda: 120 < asked(kube, follower) < 160, 60)
    kube.ctl("scale", "deploy/m", "--replicas=2")
    until("another pod", lambda: make_ready(kube, SERVING) == 2, 60)
    pods.busy, pods.idle_seconds = 0.0, 60.0
    until("idle", lambda: asked(kube, leader) == 1.0, 60)  # nobody could wake it

    kube.apply(gateway_pod())
    until("the gateway is somewhere", lambda: make_ready(kube, GATEWAY_POD) == 1, 60)
    until("it may sleep", lambda: asked(kube, follower) == 0.0, 60)
    assert kube.get("endpointslice", "m-activator") is not None
    kube.ctl("scale", "deploy/m", "--replicas=0")
    kube.wait_reason("m", "Ready", "Asleep", 60)
    until("none asked for", lambda: asked(kube, leader) == 0.0, 60)
    assert scaled(kube) == 0

    kube.patch("em", "m", {"spec": {"scaling": {"mode": "Builtin", "min": 3, "idleAfter": None}}})
    deleted = ("scaledobject", "m", "-o=jsonpath={.metadata.deletionTimestamp}")
    until("it is being deleted", lambda: kube.ctl("get", *deleted), 60)
    assert (replicas(kube), scaled(kube)) == (0, 0)
    kube.patch("scaledobject", "m", {"metadata": {"finalizers": None}})
    until("as the document says", lambda: replicas(kube) == 3, 60)
    assert kube.get("scaledobject", "m") is None
    assert scaled(kube) == 1
