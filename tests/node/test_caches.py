"""Copies on a real claim: one of each source, gone when nobody uses them; a move that loses no request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeembed_operator.caches import KEY, read_note
from loadkit import load
from nodekit import MINILM, Hub, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Model = Callable[..., Manifest]

ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}
SOURCES = (f"hf://{MINILM}", "hf://acme/other", "hf://acme/third")
CLAIM = "kubeembed-weights"


def copies(kube: Kube) -> list[str]:
    """What is on the disk of the claim, whole or in part."""
    root = Path(kube.info["volumes"]) / kube.get("pvc", CLAIM)["spec"]["volumeName"]
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
        kube.wait_reason(name, "WeightsReady", "Fetched", 120)
    keys = sorted({weights(kube, name)["key"] for name in names})
    assert copies(kube) == keys
    assert len(keys) == 3
    assert hub.bytes_sent() == sum(weights(kube, name)["bytes"] for name in names[:3])
    assert kube.get("jobs", "-l", "app.kubernetes.io/component=collect") is None
    wide = kube.ctl("get", "em", "-o", "wide").splitlines()
    assert sum(weights(kube, "m1")["key"] in line for line in wide) == 3

    kube.apply(model("eleventh", SOURCES[1], **ASLEEP))
    kube.wait_reason("eleventh", "WeightsReady", "Fetched", 60)
    kube.ctl("delete", "em", *names)
    kept = weights(kube, "eleventh")["key"]
    until("the others are gone", lambda: copies(kube) == [kept], 90)
    note = until("it is noted", lambda: settled(kube, kept), 30)
    assert (note.copies, note.unused, note.due) == (1, 0, None)

    kube.ctl("delete", "em", "eleventh")
    until("none is left", lambda: copies(kube) == [], 90)


def settled(kube: Kube, key: str) -> Any:
    note = read_note(kube.get("pvc", CLAIM))
    return note if note is not None and note.keys == {key} and note.copies == 1 else None


def test_a_move_to_another_claim_loses_no_request(kube: Kube, model: Model) -> None:
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
    [old] = kube.get("pods", "-l", "app.kubernetes.io/component=serving")["items"]
    url = f"http://{kube.get('service', 'minilm')['spec']['clusterIP']}"
    with load(url, "a text", ["minilm"], rate=5) as asked:
        kube.apply(model(weights={"claim": "mine"}))
        until("the old pod is gone", lambda: moved(kube, old["metadata"]["name"]), 120)
    assert {answer.status for answer in asked.answers} == {200}


def moved(kube: Kube, old: str) -> bool:
    pods = kube.get("pods", "-l", "app.kubernetes.io/component=serving")["items"]
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    return claims == {"mine"} and old not in {pod["metadata"]["name"] for pod in pods}
