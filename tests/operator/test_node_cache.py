"""The Node cache: a claim that is another folder on each node, filled by pods and cleared node by node."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from kubeembed_api.cachenotes import NOTES_BYTES, Note, bounded, read_notes
from kubeembed_api.document import EmbeddingModel, Resolved
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.podreasons import Trouble
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Progress, Report, UnusedCopy
from kubeembed_operator.caches import Users, Verdict, judged, nodes_of, users
from kubeembed_operator.cluster import Cluster
from kubeembed_operator.inquiry import Inquiry, Memory
from kubeembed_operator.kinds import MODEL, POD, Manifest
from kubeembed_operator.manifests.collecting import collect_job
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.manifests.node_cache import node_objects
from kubeembed_operator.manifests.weights import fetch_job
from kubeembed_operator.nodefetches import NodeFetches, named, node_fetches, together
from kubeembed_operator.observed import Observed, Serving
from kubeembed_operator.plan import plan
from kubeembed_operator.pods import Pods
from kubeembed_operator.settings import NodeCache, Settings
from kubeembed_operator.store import Store
from kubeembed_operator.supported import check_cache
from kubeembed_operator.weights import Recorded, Weights
from kubeembed_operator.weightsready import weights_ready

Build = Callable[..., EmbeddingModel]
NODE = {"weights": {"cache": "Node"}}
COPY = Recorded(request="r", key="k", revision="c0ffee", progress="20%")
THERE = Weights(request="r", copy=COPY)
NOW = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture
def set_up(settings: Settings) -> Settings:
    """The administrator has set a folder."""
    cache = settings.weights.model_copy(update={"node": NodeCache(path="/mnt/fast", size="1Ti")})
    return settings.model_copy(update={"weights": cache})


def test_it_needs_the_administrators_folder(
    model: Build, settings: Settings, set_up: Settings
) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.weights\.cache: Node needs weights\.node\.path"):
        check_cache(model(**NODE), settings)
    check_cache(model(**NODE), set_up)
    check_cache(model(), settings)


def test_volume_and_claim_as_a_whole(model: Build, set_up: Settings) -> None:
    labels = {
        "app.kubernetes.io/component": "weights",
        "app.kubernetes.io/managed-by": "kubeembed",
    }
    everywhere = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    assert node_objects(model(**NODE), set_up) == [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"labels": labels, "name": "kubeembed-search"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "1Ti"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "name": "kubeembed-node-weights",
                    "namespace": "search",
                    "uid": "",
                },
                "local": {"path": "/mnt/fast"},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [everywhere]}]}
                },
                "persistentVolumeReclaimPolicy": "Retain",
                "volumeMode": "Filesystem",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "labels": labels,
                "name": "kubeembed-node-weights",
                "namespace": "search",
            },
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Ti"}},
                "storageClassName": "",
                "volumeName": "kubeembed-search",
            },
        },
    ]
    assert node_objects(model(), set_up) == []


def test_the_pod_fetches_below_its_namespace_and_serves_read_only(
    model: Build, set_up: Settings
) -> None:
    resolved = model(**NODE).model_copy(update={"resolved": Resolved(revision="c", key="k")})
    pod = deployment(resolved, set_up)["spec"]["template"]["spec"]
    [fetch], [serve] = pod["initContainers"], pod["containers"]
    mount = {"mountPath": "/var/cache/kubeembed", "name": "weights", "subPath": "search"}
    assert mount in fetch["volumeMounts"]
    assert fetch["args"] == ["fetch", "/etc/kubeembed/model.yaml"]
    assert mount | {"readOnly": True} in serve["volumeMounts"]
    claim = {"claimName": "kubeembed-node-weights"}
    assert {"name": "weights", "persistentVolumeClaim": claim} in pod["volumes"]


def test_the_job_only_resolves_and_mounts_no_claim(model: Build, set_up: Settings) -> None:
    spec = fetch_job(model(**NODE), set_up)["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][-1] == "--resolve-only"
    assert [each for each in spec["volumes"] if "persistentVolumeClaim" in each] == []


def test_adapters_lie_in_the_shared_cache_beside_it(model: Build, set_up: Settings) -> None:
    adapter = {"name": "legal", "source": "hf://acme/legal"}
    found = plan(model(adapters=[adapter], **NODE), set_up, Observed(), THERE)
    claims = [e["metadata"]["name"] for e in found.apply if e["kind"] == "PersistentVolumeClaim"]
    assert claims == ["kubeembed-weights", "kubeembed-node-weights"]
    pod = found.apply[-1]["spec"]["template"]["spec"]
    assert {each.get("persistentVolumeClaim", {}).get("claimName") for each in pod["volumes"]} == {
        None,
        *claims,
    }


def pod(name: str, node: str | None, *, document: str = "new", **status: Any) -> Manifest:
    labels = {"kubeembed.dev/model": "minilm", "app.kubernetes.io/component": "serving"}
    return {
        "metadata": {
            "annotations": {"kubeembed.dev/document": document},
            "labels": labels,
            "name": name,
            "namespace": "search",
            "resourceVersion": "1",
            "uid": name,
        },
        "spec": {"nodeName": node} if node else {},
        "status": {"initContainerStatuses": [{"name": "fetch", **status}]},
    }


def observed(*pods: Manifest) -> Observed:
    """Pods of a Deployment whose template has the document `new`."""
    template = {"metadata": {"annotations": {"kubeembed.dev/document": "new"}}}
    return Observed(deployment={"spec": {"template": template}}, serving_pods=pods)


def last_word(reason: Reason, message: str) -> dict[str, Any]:
    told = Report(reason=reason, message=message).model_dump_json(by_alias=True)
    return {"terminated": {"exitCode": 1, "message": told, "finishedAt": "t"}}


DONE: dict[str, Any] = {"state": {"terminated": {"exitCode": 0}}}
RUNS: dict[str, Any] = {"state": {"running": {}}}
FULL = Trouble(Reason.DISK_FULL, "no room", "t")
FAILED: dict[str, Any] = {"state": {"waiting": {}}, "lastState": last_word(FULL.reason, "no room")}


def test_pods_without_a_copy_on_their_node_are_asked() -> None:
    first, waits, other = pod("a", "n1", **RUNS), pod("b", "n1", **RUNS), pod("c", "n2", **RUNS)
    failed = pod("d", "n4", **FAILED)
    there, finds = pod("e", "n3", **DONE), pod("f", "n3", **RUNS)
    placed = (first, waits, other, failed, there, finds, pod("g", None))
    assert node_fetches(observed(*placed)) == NodeFetches(
        pods=(first, waits, other), nodes=("n1", "n2"), done=1
    )


def test_pods_of_an_earlier_template_say_nothing_of_the_new_copy() -> None:
    old, new = pod("a", "n1", document="old", **DONE), pod("b", "n1", **RUNS)
    assert node_fetches(observed(old, new)) == NodeFetches(pods=(new,), nodes=("n1",))


def test_pods_that_wait_to_be_promoted_are_the_newest() -> None:
    old, new = pod("a", "n1", document="old", **DONE), pod("b", "n1", **RUNS)
    own = observed(old)
    template = {"metadata": {"annotations": {"kubeembed.dev/document": "old"}}}
    waiting = replace(
        own,
        deployment={"spec": {"template": template}},
        next=Serving(deployment=own.deployment, pods=(new,)),
    )
    assert node_fetches(waiting) == NodeFetches(pods=(new,), nodes=("n1",))


def test_what_an_attempt_ended_with_is_told_until_a_node_has_a_copy() -> None:
    again = pod("a", "n1", **RUNS, lastState=FAILED["lastState"])
    assert node_fetches(observed(pod("a", "n1", **FAILED))) == NodeFetches(trouble=FULL)
    assert node_fetches(observed(again)) == NodeFetches(pods=(again,), nodes=("n1",), trouble=FULL)
    assert node_fetches(observed(again, pod("b", "n2", **DONE))).trouble is None


def test_progress_is_that_of_all_nodes_together() -> None:
    pods = (pod("a", "n1"), pod("b", "n1"), pod("c", "n2"))
    fetches = NodeFetches(pods=pods, nodes=("n1", "n2"), done=2)
    answers = [Progress(bytes=40, total=100), Progress(bytes=0, total=0), None]
    assert together(fetches, answers) == Progress(bytes=240, total=400)
    assert named(["a"]) == "node a"
    assert named(["a", "b", "c", "d", "e"]) == "node a, b, c and 2 more"


class Answers:
    """The admin ports of pods that fetch."""

    def __init__(self, *answers: Progress | None) -> None:
        self._answers = iter(answers)

    async def progress(self, _: Manifest) -> Progress | None:
        return next(self._answers)


async def asked(
    told: Observed, *answers: Progress | None, now: datetime = NOW
) -> tuple[str | None, Trouble | None]:
    """Progress and trouble after a look, of what had 20 % before."""
    inquiry = Inquiry(cast(Pods, Answers(*answers)), cast(Cluster, None), lambda: now)
    weights, _ = await inquiry.nodes(THERE, told, Memory())
    assert weights.copy is not None
    return weights.copy.progress, weights.trouble


async def test_progress_is_whole_once_nobody_fetches_and_a_node_has_a_copy() -> None:
    runs, failed = pod("a", "n1", **RUNS), pod("b", "n2", **FAILED)
    moves = Progress(bytes=55, total=100, rate=9)
    assert await asked(observed()) == ("20%", None)
    assert await asked(observed(failed)) == ("20%", FULL)
    assert await asked(observed(runs, failed), moves) == ("50%", None)
    assert await asked(observed(runs, failed), None) == ("0%", FULL)
    assert await asked(observed(pod("a", "n1", **DONE))) == ("100%", None)


async def test_a_short_fetch_of_a_node_is_not_worth_a_write_of_its_progress() -> None:
    runs = pod("a", "n1", **RUNS)
    runs["metadata"]["creationTimestamp"] = NOW.isoformat()
    for seconds, told in ((9, "20%"), (11, "50%")):
        now = NOW + timedelta(seconds=seconds)
        assert await asked(observed(runs), Progress(bytes=5, total=9), now=now) == (told, None)


def test_the_condition_names_the_nodes_and_holds_once_one_has_it(model: Build) -> None:
    def found(*pods: Manifest, trouble: Trouble | None = None) -> tuple[str, Reason, str]:
        weights = replace(THERE, trouble=trouble)
        told = weights_ready(model(**NODE), weights, observed(*pods), NOW)
        return told.status, told.reason, told.message

    at = "hf://acme/minilm at c0ffee is"
    assert found(pod("a", "n1", **RUNS)) == (
        "False",
        Reason.FETCHING,
        f"{at} being fetched on node n1",
    )
    assert found(pod("a", "n1", **DONE), pod("b", "n2", **RUNS)) == (
        "True",
        Reason.FETCHED,
        f"{at} being fetched on node n2",
    )
    assert found(pod("a", "n1", **DONE)) == (
        "True",
        Reason.FETCHED,
        f"{at} fetched by the first pod on each node",
    )
    assert found(pod("a", "n1", **FAILED), trouble=FULL) == ("False", FULL.reason, "no room")


def test_nodes_are_those_of_serving_pods_and_notes_are_by_node(
    document: Callable[..., Manifest],
) -> None:
    store = Store()
    store.put(MODEL, document(**NODE))
    job = pod("d", "n3")
    job["metadata"]["labels"]["app.kubernetes.io/component"] = "weights"
    for each in (pod("a", "n1"), pod("b", "n2"), pod("c", None), job):
        store.put(POD, each)
    assert nodes_of(store, "search") == {"n1", "n2"}
    notes = [Note(keys=frozenset("k"), node=node) for node in ("n1", "n2")]
    claim = {
        "metadata": {
            "annotations": {
                f"kubeembed.dev/cache-{n}": each.write() for n, each in enumerate(notes)
            }
        }
    }
    assert read_notes(claim) == {"n1": notes[0], "n2": notes[1]}


def test_a_collection_runs_on_its_node_whatever_keeps_others_away(set_up: Settings) -> None:
    claim = {"metadata": {"name": "kubeembed-node-weights", "namespace": "search", "uid": "u"}}
    one, two = (collect_job(claim, set(), 1.0, set_up, node=node) for node in ("n1", "n2"))
    assert one["metadata"]["name"] != two["metadata"]["name"]
    assert one["metadata"]["annotations"]["kubeembed.dev/node"] == "n1"
    spec = one["spec"]["template"]["spec"]
    [term] = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["containers"][0]["volumeMounts"] == [
        {"mountPath": "/var/cache/kubeembed", "name": "weights", "subPath": "search"}
    ]


@pytest.mark.parametrize(
    ("reason", "gone"), [("DeadlineExceeded", True), ("BackoffLimitExceeded", False)]
)
def test_a_node_that_is_not_reached_in_time_is_given_up(
    set_up: Settings, reason: str, gone: bool
) -> None:
    claim = {"metadata": {"name": "kubeembed-node-weights", "namespace": "search", "uid": "u"}}
    job = collect_job(claim, set(), 5.0, set_up, node="n1")
    job["metadata"]["uid"] = "job"
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}
    note = Note(keys=frozenset("k"), node="n1")
    using = Users(keys=frozenset(), pending=frozenset())
    assert judged(note, using, [job], (), 9.0, node="n1") == Verdict(busy=True, gone=gone)


def test_notes_of_more_nodes_than_a_claim_has_room_for_are_given_up() -> None:
    """Those with pods stay, and then those that were looked at last."""
    keys = frozenset({"k" * 1000})
    notes = [Note(keys=keys, decided=float(n), node=f"n{n}") for n in range(200)]
    kept = [note.node for note in bounded(notes, {"n0", "n1"})]
    count = NOTES_BYTES // len(notes[-1].write())
    assert kept == ["n1", "n0", *(f"n{n}" for n in range(199, 201 - count, -1))]


def test_lists_of_copies_are_left_out_before_nodes_are() -> None:
    copies = tuple(UnusedCopy(key=f"{n:032x}", bytes=n) for n in range(20))
    few = [Note(decided=float(n), node=f"n{n}", listed=copies) for n in range(3)]
    many = [Note(decided=float(n), node=f"n{n}", listed=copies) for n in range(200)]
    assert bounded(few, ()) == few[::-1]
    assert bounded(many, ()) == [replace(note, listed=()) for note in many[::-1]]
    waited = [replace(note, asked=frozenset({copies[3].key})) for note in many]
    assert {note.listed for note in bounded(waited, ())} == {copies[3:4]}


def test_a_fetch_that_only_resolves_leaves_nothing_to_collect(
    document: Callable[..., Manifest],
) -> None:
    store = Store()
    store.put(MODEL, document(**NODE))
    claim = {"metadata": {"name": "kubeembed-node-weights", "namespace": "search"}}
    assert users(store, claim) == Users(keys=frozenset(), pending=frozenset())
