"""No roll-out spoils an index: golden vectors stop a wrong one, a pinned client never gets other vectors."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapterkit import Vectors, nearest, references
from kubeembed_api.golden import GoldenAdapter, GoldenText, golden_config_map, read_golden
from kubeembed_cli.cluster import MANAGER
from loadkit import Answer, load
from nodekit import Hub, Kube, Manifest, embedding_model, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEXT, OTHER = "the quick brown fox", "a cat on a mat"
RATE = 20
PATIENCE = 240


class Served:
    """The model under test, and what its pods and its status say."""

    def __init__(self, kube: Kube, vectors: dict[str, Vectors]) -> None:
        self.kube = kube
        self.vectors = vectors
        self.url = ""

    def change(self, **spec: Any) -> None:
        self.kube.patch("em", "m", {"spec": spec})

    def settled(self) -> str:
        """The fingerprint once the status speaks of the newest document and all is well; else empty."""
        model = self.kube.get("em", "m")
        status = model.get("status", {})
        ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
        newest = status.get("observedGeneration") == model["metadata"]["generation"]
        good = newest and ready.get("status") == "True"
        return str(status["model"]["fingerprint"]) if good else ""

    def fingerprint(self) -> str:
        return str(self.kube.get("em", "m")["status"]["model"]["fingerprint"])

    def wait(self, other_than: str = "") -> str:
        def found() -> str:
            fingerprint = self.settled()
            return fingerprint if fingerprint != other_than else ""

        try:
            return str(until("settled", found, PATIENCE))
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.kube.story('m')}") from late

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`kubeembed`, in the namespace."""
        command = [sys.executable, "-m", "kubeembed_cli", *words, "-n", self.kube.namespace]
        environment = {**os.environ, "KUBECONFIG": self.kube.info["kubeconfig"]}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def golden(self, folder: Path, *words: str) -> str:
        """Writes the vectors of today into the ConfigMap m-golden; what the command says."""
        texts = folder / "texts.txt"
        texts.write_text(f"{TEXT}\n{OTHER}\n")
        told = ("golden", "m", "--texts", str(texts), "--apply")
        done = self.command(*told, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_adapter(self, vector: Vectors) -> None:
        """What lora-0 has to be in the ConfigMap, and nothing else of it."""
        told = GoldenText(text=TEXT, side=None, vector=tuple(np.float32(vector).tolist()))
        found = read_golden(self.kube.get("configmap", "m-golden"))
        adapters = {"lora-0": GoldenAdapter(fingerprint="", texts=(told,))}
        made = golden_config_map(replace(found, adapters=adapters), "m-golden", self.kube.namespace)
        owner = (
            f"--field-manager={MANAGER}"  # who else had written it would be refused by the command
        )
        words = ("apply", "--server-side", owner, "-f", "-")
        self.kube.ctl(*words, stdin=json.dumps(made))

    def why(self) -> dict[str, Any]:
        """What `kubeembed why` says."""
        done = self.command("why", "m", "-o", "json")
        assert done.returncode == 1, done.stderr
        return dict(json.loads(done.stdout))

    def wait_alone(self) -> None:
        """Until no pod is on its way out: one that ends goes on answering for a while."""

        def alone() -> bool:
            return not any("deletionTimestamp" in pod["metadata"] for pod in self.manifests())

        until("no pod that ends", alone, 120)

    def manifests(self) -> list[Manifest]:
        return list(self.kube.get("pods", "-l", "app.kubernetes.io/component=serving")["items"])

    def pods(self) -> dict[str, int]:
        """Restarts of those that are ready and stay, by name."""
        pods = [pod for pod in self.manifests() if "deletionTimestamp" not in pod["metadata"]]
        told = {pod["metadata"]["name"]: pod["status"].get("containerStatuses") for pod in pods}
        return {name: c[0]["restartCount"] for name, c in told.items() if c and c[0]["ready"]}

    def labels(self, answers: list[Answer]) -> set[str]:
        """Whose vectors came. Raises AssertionError for an answer without one, or another's."""
        wrong = [answer for answer in answers if answer.status != 200]
        assert wrong == []
        return {nearest(self.vectors, one.body["data"][0]["embedding"]) for one in answers}


@pytest.fixture(scope="module")
def vectors(
    weights: Path, revisions: dict[str, Path], adapters: dict[str, Path]
) -> dict[str, Vectors]:
    """What TEXT has to be embedded to, by revision; and by adapter of the revision near."""
    from sentence_transformers import SentenceTransformer

    folders = {"main": weights, **revisions}
    wanted = {name: adapters[name] for name in ("lora-0", "lora-0@v2")}
    adapted = references(wanted, TEXT, weights=revisions["near"])
    adapted.pop("")
    return {
        name: SentenceTransformer(str(folder), device="cpu").encode([TEXT])[0]
        for name, folder in folders.items()
    } | adapted


@pytest.fixture(scope="module")
def served(
    shared_kube: Kube,
    hub: Hub,
    vectors: dict[str, Vectors],
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    """One pod at revision main, and its vectors as golden ones in the ConfigMap m-golden; and those of the
    adapter lora-0 of revision near."""
    hub.reset()
    made = Served(shared_kube, vectors)
    shared_kube.apply(
        embedding_model(
            "m",
            model={"source": "hf://acme/other", "revision": "main"},
            recipe={"dtype": "float32"},
        )
    )
    made.wait()
    made.url = shared_kube.address("m")
    made.golden(tmp_path_factory.mktemp("texts"))
    made.write_adapter(vectors["lora-0"])
    return made


def test_a_revision_that_passes_rolls_out_and_no_request_fails(served: Served) -> None:
    before = served.wait()
    with load(served.url, TEXT, ["m"], RATE) as asking:
        served.change(model={"revision": "near"}, rollout={"golden": {"configMap": "m-golden"}})
        served.wait(other_than=before)
        served.wait_alone()
        done = time.monotonic()
        until("answers", lambda: len(asking.since(done)) > 4 * RATE, 120)
    assert served.labels(asking.answers) == {"main", "near"}
    assert served.labels(asking.answers[-RATE:]) == {"near"}


def test_a_revision_that_fails_is_told_with_its_worst_text_and_the_old_one_serves(
    served: Served,
) -> None:
    before, pods = served.fingerprint(), served.pods()
    with load(served.url, TEXT, ["m"], RATE) as asking:
        served.change(model={"revision": "far"})
        told = served.kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
        assert "2 of 2 golden texts are below minCosine 0.999; the worst: line " in told["message"]
        shown = re.search(r"line \d, '(.+)', has cosine (-?[\d.]+)\.", told["message"])
        assert shown is not None
        assert shown[1] in (TEXT, OTHER)
        far = float(np.dot(served.vectors["main"], served.vectors["far"]))
        assert float(shown[2]) <= far + 0.001
        assert served.kube.condition("m", "Available")["status"] == "True"
        assert served.fingerprint() == before
        why = served.why()
        assert why["reason"] == "GoldenMismatch"
        assert shown[0] in why["message"]
        done = time.monotonic()
        until("answers", lambda: len(asking.since(done)) > 2 * RATE, 120)
        served.change(model={"revision": "near"})
        assert served.wait() == before
    assert served.labels(asking.answers) == {"near"}
    assert served.pods() == pods


def test_an_old_pod_that_is_lost_meanwhile_comes_back_as_it_was(served: Served) -> None:
    before, pods = served.fingerprint(), served.pods()
    served.change(model={"revision": "far"})
    served.kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
    served.kube.ctl("delete", "pod", *pods, "--wait")
    until("another", lambda: len(served.pods().keys() - pods.keys()) == 1, PATIENCE)
    served.kube.address("m")  # open again
    with load(served.url, TEXT, ["m"], RATE) as asking:
        until("answers", lambda: len(asking.answers) > RATE, 120)
    assert served.labels(asking.answers) == {"near"}
    served.change(model={"revision": "near"})
    assert served.wait() == before


def test_golden_vectors_that_are_not_there_are_told_and_the_old_pod_serves(
    served: Served,
) -> None:
    before, pods = served.fingerprint(), served.pods()
    served.change(rollout={"golden": {"configMap": "nowhere"}})
    told = served.kube.wait_reason("m", "Ready", "GoldenUnreadable", PATIENCE)
    assert "/nowhere/golden.jsonl is not there: the ConfigMap, or its key" in told["message"]
    assert served.kube.condition("m", "Available")["status"] == "True"
    served.change(rollout={"golden": {"configMap": "m-golden"}})
    assert served.wait() == before
    assert served.pods() == pods


def test_an_adapter_whose_vectors_are_others_does_not_get_its_name(served: Served) -> None:
    before, pods = served.wait(), served.pods()
    lora = {"name": "lora-0", "source": "hf://acme/lora-0"}
    served.change(adapters=[lora])
    served.kube.wait_reason("m", "AdaptersReady", "Loaded", PATIENCE)
    with load(served.url, TEXT, ["m", "m:lora-0"], RATE) as asking:
        served.change(adapters=[{**lora, "revision": "v2"}])
        told = served.kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
        assert told["message"].startswith(
            "adapter lora-0: adapter 'lora-0' cannot be served: 1 of 1"
        )
        assert f"the worst: line 1, '{TEXT}', has cosine " in told["message"]
        [entry] = served.kube.get("em", "m")["status"]["adapters"]
        assert (entry["reason"], entry["ready"]) == ("GoldenMismatch", "1/1")
        assert served.why()["reason"] == "GoldenMismatch"
        done = time.monotonic()
        until("answers", lambda: len(asking.since(done)) > 2 * RATE, 120)
        served.change(adapters=[])
        assert served.wait() == before
    adapted = [one for one in asking.answers if one.model == "m:lora-0" and one.status != 404]
    assert served.labels(adapted) == {"lora-0"}
    assert served.labels([one for one in asking.answers if one.model == "m"]) == {"near"}
    assert served.pods() == pods


def test_a_roll_out_stops_for_an_adapter_and_goes_on_once_its_vectors_are_written_anew(
    served: Served, tmp_path: Path
) -> None:
    """It is held to the vectors that were written the moment before it began."""
    served.change(adapters=[{"name": "lora-0", "source": "hf://acme/lora-0"}])
    served.kube.wait_reason("m", "AdaptersReady", "Loaded", PATIENCE)
    pods = served.pods()
    with load(served.url, TEXT, ["m", "m:lora-0"], RATE) as asking:
        served.write_adapter(served.vectors["lora-0@v2"])
        served.change(recipe={"maxTokens": 128})
        told = served.kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
        said = "a pod: adapter 'lora-0' cannot be served: 1 of 1 golden texts are below"
        assert told["message"].startswith(said)
        assert f"the worst: line 1, '{TEXT}', has cosine " in told["message"]
        assert served.why()["message"] == told["message"]
        assert served.pods() == pods
        said = served.golden(tmp_path, "--adapter", "lora-0")
        assert said.startswith(f"ConfigMap m-golden in namespace {served.kube.namespace}: 2 texts")
        assert ", also of lora-0, 384 dimensions, " in said
        served.wait()
        changed = time.monotonic()
        until("answers", lambda: len(asking.since(changed)) > 4 * RATE, 120)
    of = {name: [a for a in asking.answers if a.model == name] for name in ("m", "m:lora-0")}
    assert served.labels(of["m:lora-0"]) == {"lora-0"}
    assert served.labels(of["m"]) == {"near"}
    assert served.pods().keys() & pods.keys() == set()


def test_a_pod_that_comes_later_does_not_stop_for_an_adapter(served: Served) -> None:
    """Nor does anything change while the ConfigMap alone is written anew."""
    pods = served.pods()
    served.write_adapter(served.vectors["lora-0@v2"])
    served.kube.ctl("delete", "pod", *pods, "--wait")
    until("another", lambda: len(served.pods().keys() - pods.keys()) == 1, PATIENCE)
    told = served.kube.wait_reason("m", "Ready", "GoldenMismatch", PATIENCE)
    assert told["message"].startswith("adapter lora-0: adapter 'lora-0' cannot be served: 1 of 1")
    served.kube.address("m")  # open again
    with load(served.url, TEXT, ["m", "m:lora-0"], RATE) as asking:
        until("answers", lambda: len(asking.answers) > RATE, 120)
    assert {one.status for one in asking.answers if one.model == "m:lora-0"} == {503}
    assert served.labels([one for one in asking.answers if one.model == "m"]) == {"near"}
    served.change(adapters=[])
    served.wait()


def test_a_pinned_client_gets_its_vectors_or_412_while_the_pooling_changes(served: Served) -> None:
    served.change(scaling={"min": 2, "max": 2})
    until("two pods", lambda: len(served.pods()) == 2, PATIENCE)
    before = served.wait()
    with load(served.url, TEXT, ["m"], RATE, if_fingerprint_match=before) as asking:
        served.change(recipe={"pooling": "cls"}, rollout={"golden": None})
        told = served.kube.wait_reason("m", "Ready", "MixedVectorSpaces", PATIENCE)
        assert "2 vector spaces: " in told["message"]
        assert before[:12] in told["message"]
        assert served.fingerprint() == before
        after = served.wait(other_than=before)
        served.wait_alone()
        done = time.monotonic()
        until("answers", lambda: len(asking.since(done)) > 4 * RATE, 120)
    assert {answer.status for answer in asking.answers} == {200, 412}
    refused = [answer for answer in asking.answers if answer.status == 412]
    assert {answer.body["error"]["code"] for answer in refused} == {"fingerprint_mismatch"}
    assert all(after in answer.body["error"]["message"] for answer in refused)
    assert served.labels([one for one in asking.answers if one.status == 200]) == {"near"}
    assert {answer.status for answer in asking.answers[-RATE:]} == {412}
