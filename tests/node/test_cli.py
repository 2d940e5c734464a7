"""`kubeembed` on a real cluster, as a process of its own: what it prints, and how it ends."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from kubeembed_api.golden import GOLDEN_KEY, cosine, read_golden
from kubeembed_api.names import REMOVE_ANNOTATION
from nodekit import MINILM, Hub, Kube, Manifest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEXTS = ("A man is eating food.", "Somebody has lunch.", "A cheetah chases its prey.")


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    messages: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def kube(shared_kube: Kube) -> Kube:
    """A namespace for all tests here, with a model that serves, one of a wrong source, one too large."""
    example = yaml.safe_load(Path("examples/minilm.yaml").read_text())
    shared_kube.apply(
        example,
        changed(example, "lost", model={"source": f"hf://{MINILM}", "revision": "v9"}),
        changed(example, "huge", resources={"profile": "gpu", "count": 64}),
    )
    shared_kube.wait_served("minilm")
    return shared_kube


def changed(example: Manifest, name: str, **spec: Any) -> Manifest:
    return {**example, "metadata": {"name": name}, "spec": {**example["spec"], **spec}}


@pytest.fixture(scope="module")
def kubeembed(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, with a kubeconfig whose context names the namespace."""
    config = yaml.safe_load(Path(kube.info["kubeconfig"]).read_text())
    for each in config["contexts"]:
        each["context"]["namespace"] = kube.namespace
    file = tmp_path_factory.mktemp("kube") / "config"
    file.write_text(yaml.safe_dump(config))

    def run(*words: str) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "kubeembed_cli", *words],
            env={**os.environ, "KUBECONFIG": str(file)},
            capture_output=True,
            text=True,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def test_a_model_that_serves_is_said_to(kube: Kube, kubeembed: Command) -> None:
    found = kubeembed("why", "minilm", "-o", "json")
    said, looked = found.json, found.json["lookedAt"]
    assert (found.status, said["ready"], said["reason"]) == (0, True, "Ready")
    assert said["message"] == f"answers at http://minilm.{kube.namespace}.svc"
    assert "Deployment minilm: 1/1 replicas; 1 of 1 Pods ready" in looked
    assert any(line.startswith("operator in kubeembed-system: Lease renewed") for line in looked)


def test_a_wrong_source_is_told_with_the_way_out(kube: Kube, kubeembed: Command) -> None:
    kube.wait_reason("lost", "Ready", "SourceNotFound", 120)
    found = kubeembed("why", "lost")
    assert found.status == 1
    assert found.out.startswith(f"lost in namespace {kube.namespace}: not ready\n")
    assert "Reason    SourceNotFound" in found.out
    # the Job where it has just been made anew, and no pod of it is there yet
    assert re.search(r"Object    (Pod|Job) lost-fetch-", found.out)
    assert "no such revision" in found.out
    assert "correct `spec.model.source`" in found.out
    assert "\x1b" not in found.out  # no terminal, no colours


def test_a_profile_that_no_node_has_is_told_in_the_schedulers_words(
    kube: Kube, kubeembed: Command
) -> None:
    kube.wait_reason("huge", "Ready", "Unschedulable", 180)
    found = kubeembed("why", "huge", "-o", "json")
    assert (found.status, found.json["reason"]) == (1, "Unschedulable")
    assert found.json["object"]["kind"] == "Pod"
    assert "Insufficient nvidia.com/gpu" in found.json["message"]


def test_a_model_that_does_not_exist_is_answered_with_those_that_do(kubeembed: Command) -> None:
    found = kubeembed("why", "minilmm")
    assert (found.status, found.out) == (2, "")
    assert "which has huge, lost, minilm" in found.messages


def test_a_model_of_another_namespace_is_found(kube: Kube, kubeembed: Command) -> None:
    found = kubeembed("why", "huge", "-n", "default")
    assert found.status == 2
    assert f"there is one in {kube.namespace}: add -n {kube.namespace}" in found.messages


def test_texts_that_mean_the_same_are_alike(kubeembed: Command) -> None:
    found = kubeembed("try", "minilm", *TEXTS, "-o", "json")
    assert found.status == 0, found.messages
    values = found.json["values"]
    assert [round(values[n][n], 3) for n in range(3)] == [1, 1, 1]
    assert values[0][1] > values[0][2]
    assert found.json["measure"] == "cosine"


def test_a_query_is_compared_with_texts(kubeembed: Command) -> None:
    found = kubeembed("try", "minilm", "--query", "Who eats?", *TEXTS)
    assert found.status == 0, found.messages
    assert "q1: Who eats?" in found.out
    rows = {line[: len(TEXTS[2])].strip(): line for line in found.out.splitlines()}
    figures = [float(rows[text].split()[-1]) for text in TEXTS]
    assert figures[0] > figures[2]


def test_a_model_without_pods_is_not_tried(kubeembed: Command) -> None:
    found = kubeembed("try", "huge", "a", "b")
    assert (found.status, found.out) == (1, "")
    assert "`kubeembed why huge` says why" in found.messages


def test_golden_vectors_are_those_that_it_serves(
    kube: Kube, kubeembed: Command, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    applied = kubeembed("golden", "minilm", "--texts", str(texts), "--apply")
    assert applied.status == 0, applied.messages
    found = read_golden(kube.get("configmap", "minilm-golden"))
    status = kube.get("em", "minilm")["status"]["model"]
    assert (found.model, found.dimensions, found.fingerprint) == (
        "minilm",
        384,
        status["fingerprint"],
    )
    assert tuple(one.text for one in found.texts) == TEXTS
    tried = kubeembed("try", "minilm", *TEXTS, "-o", "json").json["values"]
    vectors = [one.vector for one in found.texts]
    assert cosine(vectors[0], vectors[1]) == pytest.approx(tried[0][1], abs=1e-5)


def test_golden_vectors_are_printed_as_they_would_be_applied(
    kube: Kube, kubeembed: Command, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "Who eats?", "side": "query"}\n{"text": "Who eats?"}\n')
    printed = kubeembed("golden", "minilm", "--texts", str(texts), "--config-map", "mine")
    assert printed.status == 0, printed.messages
    kube.ctl("apply", "--server-side", "-f", "-", stdin=printed.out)
    found = kube.get("configmap", "mine")
    assert found["data"] == {GOLDEN_KEY: yaml.safe_load(printed.out)["data"][GOLDEN_KEY]}
    assert [(one.text, one.side) for one in read_golden(found).texts] == [
        ("Who eats?", "query"),
        ("Who eats?", None),
    ]


def test_weights_are_fetched_into_a_local_cache(
    kubeembed: Command, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    first = kubeembed("fetch", f"hf://{MINILM}", "--cache", str(tmp_path), "-o", "json")
    assert first.status == 0, first.messages
    (copy,) = first.json
    assert copy["bytes"] == copy["fetchedBytes"]
    assert (Path(copy["path"]) / "model.safetensors").exists()
    again = kubeembed("fetch", "examples/minilm.yaml", "--cache", str(tmp_path), "-o", "json")
    assert again.json == [{**copy, "fetchedBytes": 0}]
    lost = kubeembed("fetch", f"hf://{MINILM}", "--revision", "v9", "--cache", str(tmp_path))
    assert (lost.status, lost.out) == (1, "")
    assert "way out: correct `spec.model.source`" in lost.messages


def test_an_unused_copy_is_removed_and_one_in_use_is_not(kube: Kube, kubeembed: Command) -> None:
    example = yaml.safe_load(Path("examples/minilm.yaml").read_text())
    asleep = {"mode": "External", "replicas": 0}
    kube.apply(changed(example, "spare", model={"source": "hf://acme/third"}, scaling=asleep))
    kube.wait_reason("spare", "WeightsReady", "Fetched", 120)
    weights = kube.get("em", "spare")["status"]["weights"]
    key, claim = weights["key"], "kubeembed-weights"
    [cache] = kubeembed("cache", "ls", "-o", "json").json
    assert (cache["namespace"], cache["claim"], cache["cleared"]) == (kube.namespace, claim, True)
    [spare] = [copy for copy in cache["copies"] if copy["key"] == key]
    assert spare["models"] == [{"name": "spare", "use": "weights"}]
    assert (spare["bytes"], spare["source"]) == (weights["bytes"], "hf://acme/third")
    assert spare["revision"] == weights["revision"]
    refused = kubeembed("cache", "rm", key[:12])
    assert (refused.status, refused.out) == (1, "")
    assert f"{key} is in use by spare: " in refused.messages

    # by which the command knows of it once its model is gone
    until("it is noted", lambda: key in str(kube.get("pvc", claim)["metadata"]["annotations"]), 60)
    kube.ctl("delete", "em", "spare")
    gone = kubeembed("cache", "rm", key)  # long before its time to live is over
    assert gone.status == 0, gone.messages
    assert gone.out == f"{key}: gone from claim {claim}\n"
    live = kube.get("pvc", claim)
    assert not (Path(kube.info["volumes"]) / live["spec"]["volumeName"] / key).exists()
    assert REMOVE_ANNOTATION not in live["metadata"]["annotations"]
    assert key not in kubeembed("cache", "ls").out


def test_an_operator_that_is_scaled_down_is_the_reason(kube: Kube, kubeembed: Command) -> None:
    kube.wait_reason("lost", "Ready", "SourceNotFound", 120)
    system = Kube(kube.info, "kubeembed-system")
    pods = ("get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name")
    system.ctl("scale", "deployment/kubeembed-operator", "--replicas=0")
    try:
        until("no operator", lambda: not system.ctl(*pods), 120)
        lost = kubeembed("why", "lost", "-o", "json")
        serves = kubeembed("why", "minilm", "-o", "json")
    finally:
        system.ctl("scale", "deployment/kubeembed-operator", "--replicas=2")
        system.ctl("rollout", "status", "deployment/kubeembed-operator", "--timeout=300s")
    assert (lost.status, lost.json["reason"]) == (1, "OperatorNotRunning")
    assert lost.json["wayOut"] == (
        "`kubectl -n kubeembed-system scale deployment/kubeembed-operator --replicas=2`"
    )
    assert lost.json["notes"][0].startswith("status is of then: Ready=False, SourceNotFound")
    assert (serves.status, serves.json["ready"]) == (0, True)
    assert serves.json["notes"][0].startswith("but nobody looks after it: ")
