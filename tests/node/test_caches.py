"""Copies on a real claim: one of each source, gone when nobody uses them; a move that loses no request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.cachenotes import read_note
from kubeembed_api.keys import KEY
from kubeembed_api.names import NODE_CLAIM
from loadkit import load
from nodekit import MINILM, Hub, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Model = Callable[..., Manifest]

ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}
SOURCES = (f"hf://{MINILM}", "hf://acme/other", "hf://acme/third")
CLAIM = "kubeembed-weights"


def copies(kube: Kube, root: Path | None = None) -> list[str]:
    """What is on the disk of the claim, or below another root, whole or in part."""
    root = root or Path(kube.info["volumes"]) / kube.get("pvc", CLAIM)["spec"]["volumeName"]
    folders = (root, root / ".partial", root / ".removed")
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return sorted(name for name in found if KEY.search(name))


def weights(kube: Kube, name: str) -> dict[str, Any]:
    return dict(kube.get("em", name)["status"]["weights"])


def test_ten_models_of_three_sources_leave_nothing_but_what_an_eleventh_uses(
    kube: Kube, model: Model, hub: Hub
) -> None:
    names = [f"m{number}" for number in range(10)]
    kube.apply(*(model(name, SOURCES[i % 3], **ASLEEP) for i, name in enumerate(names)))
    for name in names:
        kube.wait_reason(name, "WeightsReady", "Fetched", 300)
    keys = sorted({weights(kube, name)["key"] for name in names})
    assert copies(kube) == keys
    assert len(keys) == 3
    assert hub.bytes_sent() == sum(weights(kube, name)["bytes"] for name in names[:3])
    assert kube.get("jobs", "-l", "app.kubernetes.io/component=collect") is None
    wide = kube.ctl("get", "em", "-o", "wide").splitlines()
    assert sum(weights(kube, "m1")["key"] in line for line in wide) == 3

    kube.apply(model("eleventh", SOURCES[1], **ASLEEP))
    kube.wait_reason("eleventh", "WeightsReady", "Fetched", 120)
    kube.ctl("delete", "em", *names)
    kept = weights(kube, "eleventh")["key"]
    until("the others are gone", lambda: copies(kube) == [kept], 180)
    note = until("it is noted", lambda: settled(kube, kept), 60)
    assert (note.copies, note.unused, note.due) == (1, 0, None)

    kube.ctl("delete", "em", "eleventh")
    until("none is left", lambda: copies(kube) == [], 180)


def settled(kube: Kube, key: str) -> Any:
    note = read_note(kube.get("pvc", CLAIM))
    return note if note is not None and note.keys == {key} and note.copies == 1 else None


def test_moves_to_another_claim_and_to_the_node_lose_no_request(kube: Kube, model: Model) -> None:
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "mine"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        model(),
    )
    kube.wait_ready("minilm")
    moves = {"mine": {"claim": "mine"}, NODE_CLAIM: {"cache": "Node"}}
    with load(kube.address("minilm"), "a text", ["minilm"], rate=5) as asked:
        for claim, cache in moves.items():
            kube.apply(model(weights=cache))
            until(f"all pods mount {claim}", lambda claim=claim: mounted(kube) == {claim}, 240)
    assert {answer.status for answer in asked.answers} == {200}
    kube.ctl("delete", "pv", f"kubeembed-{kube.namespace}", "--wait=false")


def test_a_node_has_one_copy_which_the_first_pod_takes(kube: Kube, model: Model, hub: Hub) -> None:
    """And it goes with its last model, from this node as well."""
    root = Path(kube.info["volumes"]).parent / "node-weights" / kube.namespace
    names = ("minilm", "second")
    fixed = {"scaling": {"mode": "External", "replicas": 1}}
    hub.faults({"path": "*model.safetensors", "rate": 8_000_000})  # long enough to be seen
    kube.apply(*(model(name, weights={"cache": "Node"}, **fixed) for name in names))
    fetching = kube.wait_reason("minilm", "WeightsReady", "Fetching", 120)
    until(
        "it says where",
        lambda: "on node" in kube.condition("minilm", "WeightsReady")["message"],
        60,
    )
    assert fetching["status"] == "False"
    for name in names:
        kube.wait_ready(name)
    hub.faults()
    assert copies(kube, root) == [weights(kube, "minilm")["key"]]
    assert hub.bytes_sent() == weights(kube, "minilm")["bytes"]
    assert weights(kube, "second")["progress"] == "100%"
    assert [each["metadata"]["name"] for each in kube.list("pvc")] == [NODE_CLAIM]
    kube.ctl("delete", "em", *names)
    until("none is left", lambda: copies(kube, root) == [], 180)

    kube.ctl("delete", "jobs", "--all")  # pods that ended hold on to their claim as well
    kube.ctl("delete", "pvc", NODE_CLAIM)  # as with its namespace, and then made anew
    kube.apply(model(weights={"cache": "Node"}, **ASLEEP))
    until("it has its volume back", lambda: bound(kube, NODE_CLAIM), 120)
    kube.ctl("delete", "pv", f"kubeembed-{kube.namespace}", "--wait=false")


def bound(kube: Kube, claim: str) -> bool:
    return bool(((kube.get("pvc", claim) or {}).get("status") or {}).get("phase") == "Bound")


def mounted(kube: Kube) -> set[str]:
    """The claims of all serving pods, of those that end as well."""
    pods = kube.get("pods", "-l", "app.kubernetes.io/component=serving")["items"]
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
