"""Who reaches a model's ports, asked by a pod of a foreign namespace."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nodekit import RESTRICTED, SYSTEM, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Model = Callable[..., Manifest]

ASK = """
import sys, urllib.error, urllib.request
url, body, *key = sys.argv[1:]
headers = {"Content-Type": "application/json"}
headers |= {"Authorization": "Bearer " + each for each in key}
request = urllib.request.Request(url, body.encode() or None, headers)
try:
    print(urllib.request.urlopen(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print("unreachable")
"""


def client(image: str) -> Manifest:
    security = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "client",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "labels": {"app": "client"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": security,
            "containers": [container],
        },
    }


@pytest.fixture
def foreign(info: dict[str, Any], images: dict[str, str]) -> Iterator[Kube]:
    """A namespace of somebody else, with a pod that can ask."""
    made = Kube(info, f"foreign-{uuid.uuid4().hex[:8]}")
    made.ctl("create", "namespace", made.namespace)
    made.ctl("label", "namespace", made.namespace, RESTRICTED)
    until("the default account", lambda: made.get("sa", "default"), 60)
    made.apply(client(images["control"]))
    made.ctl("wait", "--for=condition=Ready", "--timeout=240s", "pod/client")
    yield made
    made.ctl("delete", "namespace", made.namespace, "--wait=false")


def ask(kube: Kube, url: str, body: str = "", *key: str) -> str:
    return kube.ctl("exec", "client", "--", "python", "-c", ASK, url, body, *key).strip()


GATEWAY = f"http://kubeembed-gateway.{SYSTEM}.svc/v1/embeddings"


def body_for(model: str) -> str:
    return json.dumps({"model": model, "input": "a"})


def test_the_admin_port_is_shut_and_the_public_one_as_the_document_says(
    kube: Kube, foreign: Kube, model: Model
) -> None:
    kube.apply(model())
    # the operator gets through to the admin port: it reads the dimensions there
    served = kube.wait_served("minilm")
    serving = [
        each
        for each in kube.list("pods")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == "serving"
    ]
    address = serving[0]["status"]["podIP"]
    service = served["status"]["endpoint"]
    # a node takes a moment to learn of an endpoint
    until("open", lambda: ask(foreign, f"{service}/v1/models") == "200", 60)
    assert ask(foreign, f"http://{address}:8080/v1/models") == "200"
    assert ask(foreign, f"http://{address}:8081/metrics") == "unreachable"
    assert ask(foreign, f"http://{address}:8081/livez") == "unreachable"

    named = body_for(f"{kube.namespace}/minilm")
    until("open by the gateway", lambda: ask(foreign, GATEWAY, named) == "200", 60)

    kube.patch("em", "minilm", {"spec": {"network": {"allowFrom": [{"podSelector": {}}]}}})
    until("shut", lambda: ask(foreign, f"{service}/v1/models") == "unreachable", 120)
    until("and by the gateway", lambda: ask(foreign, GATEWAY, named) == "403", 60)
    policy = kube.get("networkpolicy", "minilm")["spec"]["ingress"]
    assert [each.get("from") for each in policy if each["ports"][0]["port"] == 8080] == [
        [{"podSelector": {}}]
    ]

    name = {"kubernetes.io/metadata.name": foreign.namespace}
    peer = {"namespaceSelector": {"matchLabels": name}, "podSelector": {}}
    kube.patch("em", "minilm", {"spec": {"network": {"allowFrom": [peer]}}})
    until("open", lambda: ask(foreign, f"{service}/v1/models") == "200", 60)
    assert ask(foreign, f"http://{address}:8081/metrics") == "unreachable"
    assert kube.condition("minilm")["status"] == "True"


def test_the_gateway_asks_for_the_keys_of_its_secret(
    installed: Kube, foreign: Kube, model: Model
) -> None:
    locked = Kube(installed.info, "locked")
    locked.ctl("create", "namespace", locked.namespace)
    try:
        hold = {"requests": 0}  # nobody has to wait for it, so it answers 503 to whom it lets in
        document = model(scaling={"mode": "External", "replicas": 0, "hold": hold})
        locked.apply(document)
        named = body_for("locked/minilm")
        until("it is known", lambda: ask(foreign, GATEWAY, named) == "401", 60)
        assert ask(foreign, GATEWAY, named, "other") == "401"
        assert ask(foreign, GATEWAY, named, "opens") == "503"
    finally:
        locked.ctl("delete", "namespace", locked.namespace, "--wait=false")
