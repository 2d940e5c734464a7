"""Adapters come, change and go while requests flow: nothing fails or restarts, no vector is another's."""

import json
import shutil
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from adapterkit import Vectors, nearest, references, size
from loadkit import Answer, load
from nodekit import MINILM, Hub, Kube, Manifest, at_rest, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

TEXT = "the quick brown fox"
REPLICAS, ADAPTERS = 3, 20


def wanted(*names: str) -> list[Manifest]:
    """As spec.adapters has them: "lora-0@v2" is lora-0 at that revision."""
    told = []
    for name in names:
        short, _, revision = name.partition("@")
        pinned = {"revision": revision} if revision else {}
        told.append({"name": short, "source": f"hf://acme/{short}", **pinned})
    return told


ALL = [f"lora-{number}" for number in range(ADAPTERS)]


class Served:
    """The model under test, and what its pods and its status say."""

    def __init__(self, kube: Kube, vectors: dict[str, Vectors]) -> None:
        self.kube = kube
        self.vectors = vectors
        self.url = ""
        self.changed = 0.0

    def want(self, *names: str, **spec: Any) -> None:
        recipe = {"dtype": "float32"}  # so that vectors are told apart to the last digits
        scaling = {"min": REPLICAS, "max": REPLICAS}
        body = {"model": {"source": f"hf://{MINILM}"}, "recipe": recipe, "scaling": scaling}
        self.kube.apply(
            {
                "apiVersion": "kubeembed.dev/v1alpha1",
                "kind": "EmbeddingModel",
                "metadata": {"name": "m"},
                "spec": {**body, "adapters": wanted(*names), **spec},
            }
        )
        self.changed = time.monotonic()

    def entries(self) -> dict[str, Manifest]:
        """The adapters in the status, by name; none while it does not speak of the newest document."""
        model = self.kube.get("em", "m")
        status = model.get("status", {})
        if status.get("observedGeneration") != model["metadata"]["generation"]:
            return {}
        return {each["name"]: each for each in status.get("adapters", ())}

    def wait(self, name: str, **told: str) -> Manifest:
        """Until the status says so of an adapter; -s shows how long after the change that was."""

        def found() -> Manifest | None:
            entry = self.entries().get(name, {})
            return entry if told.items() <= entry.items() else None

        try:
            entry = dict(until(f"{name} {told}", found, 180))
            print(f"{name} {told}: {time.monotonic() - self.changed:.1f} s after the change")
            return entry
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.entries()}\n{self.kube.story('m')}") from late

    def manifests(self) -> list[Manifest]:
        """The serving pods that have an address, and are not on their way out."""
        pods = self.kube.get("pods", "-l", "app.kubernetes.io/component=serving")["items"]
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return [pod for pod in staying if pod["status"].get("podIP")]

    def pods(self) -> dict[str, int]:
        """Restarts by name."""
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in self.manifests()
        }

    def ask(self, model: str) -> tuple[int, Any]:
        body = json.dumps({"model": model, "input": TEXT}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/embeddings", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def labels(self, answers: list[Answer]) -> dict[str, set[str]]:
        """Which vectors came by model name. Raises AssertionError for an answer without one, or another's."""
        found: dict[str, set[str]] = {}
        for answer in answers:
            assert answer.status == 200, answer
            label = nearest(self.vectors, answer.body["data"][0]["embedding"])
            found.setdefault(answer.model, set()).add(label)
        return found


def admin(pod: Manifest, path: str) -> tuple[int, bytes]:
    """The pod's admin port, as the operator asks it."""
    try:
        url = f"http://{pod['status']['podIP']}:8081{path}"
        with urllib.request.urlopen(url, timeout=5) as got:
            return got.status, got.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, KeyError):
        return 0, b""


@pytest.fixture(scope="module")
def vectors(adapters: dict[str, Path]) -> dict[str, Vectors]:
    """What TEXT has to be embedded to, by the base ("") and by each adapter that fits."""
    fitting = {name: folder for name, folder in adapters.items() if "lora-" in name}
    fitting.pop("lora-0@wide")
    return references(fitting, TEXT)


@pytest.fixture(scope="module")
def served(shared_kube: Kube, hub: Hub, vectors: dict[str, Vectors]) -> Served:
    """Three pods with twenty adapters."""
    hub.reset()
    made = Served(shared_kube, vectors)
    made.want(*ALL)
    until("all of it", lambda: is_settled(made), 300)
    made.url = shared_kube.address("m")
    return made


@pytest.fixture
def settled(served: Served) -> Served:
    """All twenty are loaded by every pod, whatever the test before left."""
    served.want(*ALL)
    until("Ready again", lambda: is_settled(served), 180)
    return served


def is_settled(served: Served, replicas: int = REPLICAS) -> bool:
    """Whether every pod that there should be serves all twenty, and the model is Ready with them."""
    everywhere = [each["ready"] for each in served.entries().values()]
    ready = served.kube.condition("m").get("status") == "True"
    return ready and everywhere == [f"{replicas}/{replicas}"] * ADAPTERS


def test_twenty_adapters_on_three_replicas_are_each_fetched_once_and_served(
    served: Served, hub: Hub, adapters: dict[str, Path]
) -> None:
    status = served.kube.get("em", "m")["status"]
    assert status["adapterSummary"] == "20/20"
    entries = served.entries()
    assert [*entries] == ALL
    assert {each["ready"] for each in entries.values()} == {"3/3"}
    assert {each["reason"] for each in entries.values()} == {"Loaded"}
    assert {len(each["revision"]) for each in entries.values()} == {40}
    assert len({each["fingerprint"] for each in entries.values()}) == ADAPTERS
    models = ["m", *(f"m:{name}" for name in ALL)]
    found = {name: served.ask(name) for name in models}
    answers = [Answer(name, status, body) for name, (status, body) in found.items()]
    assert served.labels(answers) == {"m": {""}, **{f"m:{name}": {name} for name in ALL}}
    sizes = [status["weights"]["bytes"], *(size(adapters[name]) for name in ALL)]
    assert hub.bytes_sent() == sum(sizes)


def test_one_that_is_added_under_load_is_usable_and_disturbs_nobody(
    settled: Served, writes: Any
) -> None:
    before, written = settled.pods(), len(writes(settled.kube.namespace))
    with load(settled.url, TEXT, ["m", "m:lora-0", "m:lora-19"]) as asking:
        settled.want(*ALL, "lora-20")
        settled.wait("lora-20", reason="Loaded", ready="3/3")
        loaded = time.monotonic()
        asking.models = [*asking.models, "m:lora-20"]
        until("answers", lambda: len(asking.since(loaded)) > 150, 120)
    assert settled.labels(asking.answers) == {
        "m": {""},
        "m:lora-0": {"lora-0"},
        "m:lora-19": {"lora-19"},
        "m:lora-20": {"lora-20"},
    }
    assert settled.pods() == before
    # a pod that starts anew at any moment finds what status calls loaded
    told = [each for each in writes(settled.kube.namespace)[written:] if each.endswith("s/m")]
    assert "patch configmaps/m" in told
    assert told[-1] == "patch embeddingmodels/m"


def test_one_that_is_replaced_under_load_answers_all_the_time_with_one_or_the_other(
    settled: Served,
) -> None:
    before, old = settled.pods(), settled.entries()["lora-0"]
    with load(settled.url, TEXT, ["m", "m:lora-0", "m:lora-1"]) as asking:
        settled.want("lora-0@v2", *ALL[1:])
        new = settled.wait("lora-0", reason="Loaded", ready="3/3")
        loaded = time.monotonic()
        until("answers", lambda: len(asking.since(loaded)) > 150, 120)
    assert new["revision"] != old["revision"]
    assert new["fingerprint"] != old["fingerprint"]
    rest = {"m": {""}, "m:lora-1": {"lora-1"}}
    assert settled.labels(asking.answers) == {**rest, "m:lora-0": {"lora-0", "lora-0@v2"}}
    late = settled.labels(asking.since(loaded))
    assert late == {**rest, "m:lora-0": {"lora-0@v2"}}
    assert settled.pods() == before


def test_one_that_is_removed_under_load_is_unknown_and_disturbs_nobody(settled: Served) -> None:
    before = settled.pods()
    with load(settled.url, TEXT, ["m", "m:lora-0", "m:lora-2"]) as asking:
        settled.want(*(name for name in ALL if name != "lora-1"))
        until("no entry", lambda: settled.entries() and "lora-1" not in settled.entries(), 120)
        # one that did not answer in time is told again
        pods = settled.manifests()
        until("no pod has it", lambda: not any(has(pod, "lora-1") for pod in pods), 60)
        gone = time.monotonic()
        print(f"removed: {gone - settled.changed:.1f} s after the change")
        until("answers", lambda: len(asking.since(gone)) > 150, 120)
    rest = {"m": {""}, "m:lora-0": {"lora-0"}, "m:lora-2": {"lora-2"}}
    assert settled.labels(asking.answers) == rest
    for _ in range(2 * REPLICAS):
        status, body = settled.ask("m:lora-1")
        assert status == 404
        assert "m:lora-2" in body["error"]["message"]
        assert "m:lora-1," not in body["error"]["message"]
    assert settled.pods() == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dora", "adapter_config.json has use_dora true; supported: false"),
        ("wide", "query has lora_A (4, 768) and lora_B (768, 4); the base's layer at rank 4 takes"),
    ],
    ids=["what is not computed", "another base"],
)
def test_one_that_does_not_fit_is_refused_by_its_field_and_the_rest_is_served(
    settled: Served, name: str, words: str
) -> None:
    settled.want(*ALL, name)
    refused = settled.wait(name, reason="AdapterRefused", ready="0/3")
    assert words in refused["message"]
    for kind in ("AdaptersReady", "Ready"):
        told = settled.kube.wait_reason("m", kind, "AdapterRefused", 60)
        assert told["message"].startswith(f"adapter {name}: ")
    assert settled.kube.condition("m", "Available")["status"] == "True"
    assert settled.kube.get("em", "m")["status"]["adapterSummary"] == "20/21"
    answers = [Answer(asked, *settled.ask(asked)) for asked in ("m", "m:lora-3")]
    assert settled.labels(answers) == {"m": {""}, "m:lora-3": {"lora-3"}}
    assert settled.ask(f"m:{name}")[0] == 404


def test_a_revision_that_does_not_fit_leaves_the_earlier_one_serving(settled: Served) -> None:
    old = settled.entries()["lora-0"]
    settled.want("lora-0@wide", *ALL[1:])
    kept = settled.wait("lora-0", reason="AdapterRefused", ready="3/3")
    assert "(4, 768)" in kept["message"]
    assert {kept[field] == old[field] for field in ("key", "revision", "fingerprint")} == {True}
    answers = [Answer("m:lora-0", *settled.ask("m:lora-0")) for _ in range(2 * REPLICAS)]
    assert settled.labels(answers) == {"m:lora-0": {"lora-0"}}


def has(pod: Manifest, name: str) -> bool:
    """Whether it has an adapter of that name, or does not say."""
    status, body = admin(pod, "/adapters")
    return status != 200 or name in [each["name"] for each in json.loads(body)["adapters"]]


def replaced_pod(served: Served) -> Manifest:
    """Kills a pod; the one in its place, as soon as it says that it is ready."""
    before = served.pods()
    served.kube.ctl("delete", "pod", next(iter(before)), "--grace-period=0", "--force")

    def newcomer() -> Manifest | None:
        pods = served.manifests()
        return next((pod for pod in pods if pod["metadata"]["name"] not in before), None)

    pod: Manifest = until("another pod", newcomer, 180)
    until("it is ready", lambda: admin(pod, "/readyz")[0] == 200, 240)
    return pod


def test_a_pod_that_was_killed_comes_up_with_all_of_them(settled: Served) -> None:
    pod = replaced_pod(settled)
    listed = json.loads(admin(pod, "/adapters")[1])["adapters"]
    assert sorted(each["name"] for each in listed) == sorted(ALL)
    assert all(each["loaded"] for each in listed)
    until("3/3 again", lambda: is_settled(settled), 180)


def test_a_copy_that_the_cache_has_lost_is_fetched_again_for_the_pod_that_missed_it(
    settled: Served, info: dict[str, Any], hub: Hub, adapters: dict[str, Path]
) -> None:
    volume = settled.kube.get("pvc", "kubeembed-weights")["spec"]["volumeName"]
    shutil.rmtree(Path(info["volumes"]) / volume / settled.entries()["lora-4"]["key"])
    sent = hub.bytes_sent()
    replaced_pod(settled)
    until("3/3 again", lambda: hub.bytes_sent() > sent and is_settled(settled), 240)
    assert hub.bytes_sent() - sent == size(adapters["lora-4"])
    answers = [Answer("m:lora-4", *settled.ask("m:lora-4")) for _ in range(2 * REPLICAS)]
    assert settled.labels(answers) == {"m:lora-4": {"lora-4"}}


def test_one_on_a_claim_is_copied_from_there(settled: Served, hub: Hub) -> None:
    """The claim is that of the cache itself, which has one."""
    entry, sent = settled.entries()["lora-3"], hub.bytes_sent()
    source = f"pvc://kubeembed-weights/{entry['key']}"
    settled.kube.patch(
        "em", "m", {"spec": {"adapters": [*wanted(*ALL), {"name": "mine", "source": source}]}}
    )
    found = settled.wait("mine", reason="Loaded", ready="3/3")
    assert found["key"] != entry["key"]
    assert (found["fingerprint"], len(found["revision"])) == (entry["fingerprint"], 40)
    assert hub.bytes_sent() == sent
    answers = [Answer("m:mine", *settled.ask("m:mine"))]
    assert settled.labels(answers) == {"m:mine": {"lora-3"}}


def test_a_settled_model_is_left_alone(settled: Served, writes: Any) -> None:
    # Adapters of the tests before went out of use: their copies go 15 s after that (values.yaml), in one Job
    # after another, and the model's status says so.
    before = at_rest(lambda: writes(settled.kube.namespace), 40)
    [pod, *_] = settled.pods()
    settled.kube.ctl("annotate", "em", "m", f"test/look={uuid.uuid4()}")
    settled.kube.ctl("label", "pod", pod, f"test/look={uuid.uuid4()}")
    time.sleep(2)  # a pass is due after a quarter of a second
    assert writes(settled.kube.namespace) == before


def test_no_more_than_so_many_are_in_memory_and_all_are_served(settled: Served) -> None:
    settled.want(*ALL, adapterOptions={"maxLoaded": 5}, scaling={"min": 1, "max": 1})
    until("rolled", lambda: len(settled.pods()) == 1 and is_settled(settled, 1), 240)
    with load(settled.url, TEXT, [f"m:{name}" for name in ALL]) as asking:
        until("answers", lambda: len(asking.answers) > 5 * ADAPTERS, 120)
    assert settled.labels(asking.answers) == {f"m:{name}": {name} for name in ALL}
    [pod] = settled.manifests()
    listed = json.loads(admin(pod, "/adapters")[1])["adapters"]
    assert sum(each["loaded"] for each in listed) == 5
    assert len(listed) == ADAPTERS
