"""Which copies are in use, and when somebody has to collect the others."""

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from kubeembed_api.cachenotes import Note, read_note
from kubeembed_api.document import parse
from kubeembed_api.report import CacheReport, Report, UnusedCopy
from kubeembed_operator.cachemetrics import CacheFigures
from kubeembed_operator.caches import Users, Verdict, abandoned, judged, users
from kubeembed_operator.handlers import woken
from kubeembed_operator.kinds import CLAIM, CONFIG_MAP, DEPLOYMENT, JOB, MODEL, POD, Manifest
from kubeembed_operator.manifests.collecting import collect_job
from kubeembed_operator.manifests.weights import fetch_request
from kubeembed_operator.settings import Settings
from kubeembed_operator.store import Store, caches_of

Document = Callable[..., Manifest]
A, B, C = "a" * 32, "b" * 32, "c" * 32
NOW = 1_800_000_000.0


def claim(name: str = "kubeembed-weights", note: Note | None = None) -> Manifest:
    annotations = {"kubeembed.dev/cache": note.write()} if note else {}
    head = {"name": name, "namespace": "search", "uid": "claim-uid", "resourceVersion": "1"}
    return {"metadata": {**head, "annotations": annotations}, "spec": {}}


def having(raw: Manifest, key: str, **status: Any) -> Manifest:
    weights = {"key": key, "request": fetch_request(parse(raw)), "bytes": 9}
    return {**raw, "status": {"weights": weights, **status}}


def stored(*models: Manifest, **others: Manifest) -> Store:
    store = Store()
    for raw in models:
        store.put(MODEL, raw)
    for name, manifest in others.items():
        kind = DEPLOYMENT if name == "deployment" else CONFIG_MAP
        head = {"name": "minilm", "namespace": "search", "uid": "x", "resourceVersion": "1"}
        labels = {"kubeembed.dev/model": "minilm"}
        store.put(kind, {"metadata": {**head, "labels": labels}, **manifest})
    return store


def test_keys_are_in_use_by_weights_adapters_mounts_and_what_pods_read(document: Document) -> None:
    adapters = [{"name": "legal", "key": B, "fingerprint": "e" * 32}]
    mounts = document(name="mounts", model={"source": f"pvc://kubeembed-weights/{C}"})
    store = stored(
        having(document(), A, adapters=adapters, model={"fingerprint": "f" * 32}),
        mounts,
        config_map={"data": {"x": "d" * 32}},
    )
    assert users(store, claim()).keys == {A, B, C, "d" * 32}


def test_keys_of_pods_and_of_their_template_are_in_use_while_status_has_another(
    document: Document,
) -> None:
    told = {"annotations": {"kubeembed.dev/document": f"weights: {{key: {B}}}\n"}}
    template = {"spec": {"template": {"metadata": told}}}
    store = stored(having(document(), A), deployment=template)
    assert users(store, claim()).keys == {A, B}
    labels = {"kubeembed.dev/model": "minilm"}
    head = {"name": "old", "namespace": "search", "uid": "x", "resourceVersion": "1"}
    annotations = {"kubeembed.dev/document": f"weights: {{key: {C}}}\n"}
    store.put(POD, {"metadata": {**head, "labels": labels, "annotations": annotations}})
    assert users(store, claim()).keys == {A, B, C}


def test_a_model_of_another_claim_uses_nothing_of_this_one(document: Document) -> None:
    store = stored(having(document(weights={"claim": "mine"}), A))
    assert users(store, claim()) == Users(keys=frozenset(), pending=frozenset())
    assert users(store, claim("mine")).keys == {A}


def test_what_pods_still_mount_while_the_model_moves_is_in_use(document: Document) -> None:
    volumes = [{"persistentVolumeClaim": {"claimName": "kubeembed-weights"}}]
    deployment = {"spec": {"template": {"spec": {"volumes": volumes}}}}
    moving = having(document(weights={"claim": "mine"}), A)
    assert users(stored(moving, deployment=deployment), claim()).keys == {A}


def test_a_document_that_is_wrong_by_now_keeps_its_copy(document: Document) -> None:
    wrong = {**document(scaling={"min": 2, "max": 1}), "status": {"weights": {"key": A}}}
    assert users(stored(wrong), claim()).keys == {A}


def test_a_fetch_is_abandoned_with_its_model_and_not_when_it_ends_well(document: Document) -> None:
    raw = document()
    fetching = users(stored(raw), claim()).pending
    assert fetching == {(raw["metadata"]["uid"], fetch_request(parse(raw)))}
    done = stored(having(raw, A))
    assert not abandoned(fetching, users(done, claim()), done, "search")
    assert not abandoned(fetching, users(stored(raw), claim()), stored(raw), "search")
    gone = stored()
    assert abandoned(fetching, users(gone, claim()), gone, "search")


def using(*keys: str) -> Users:
    return Users(keys=frozenset(keys), pending=frozenset())


def noted(*keys: str, **fields: Any) -> Note:
    return Note(keys=frozenset(keys), **fields)


def judge(
    note: Note | None, wanted: Users, *jobs: Manifest, pods: Any = (), asked: str = ""
) -> Verdict:
    return judged(note, wanted, jobs, pods, NOW, asked=frozenset(asked.split()))


def test_nothing_is_done_for_what_is_settled() -> None:
    assert judge(None, using()) == Verdict()
    assert judge(noted(A, B), using(B, A)) == Verdict()
    assert judge(noted(A, due=NOW + 60), using(A)) == Verdict(wait=60)


def test_a_new_key_is_noted_and_one_that_went_asks_for_a_collection() -> None:
    assert judge(None, using(A)) == Verdict(note=noted(A))
    assert judge(noted(A, copies=1, bytes=9), using(A, B)) == Verdict(
        note=noted(A, B, copies=1, bytes=9)
    )
    assert judge(noted(A, B), using(B)) == Verdict(collect=True)
    assert judge(noted(A, B), using(B, C)) == Verdict(collect=True)


def test_the_end_of_an_unused_copys_time_asks_for_one() -> None:
    assert judge(noted(A, due=NOW), using(A)) == Verdict(collect=True)


def test_a_key_that_somebody_wants_gone_asks_for_one_once_and_never_while_it_is_in_use() -> None:
    assert judge(noted(A), using(A), asked=A) == Verdict()
    assert judge(noted(A), using(A), asked=f"{A} {B}") == Verdict(collect=True)
    assert judge(None, using(), asked=B) == Verdict(collect=True)
    done = noted(A, asked=frozenset({B}))
    assert judge(done, using(A), asked=B) == Verdict()
    assert judge(done, using(A)) == Verdict(note=noted(A))  # and can be asked for anew
    assert judge(done, using(A), asked=C) == Verdict(collect=True)


def ended(job: Manifest, **report: Any) -> Manifest:
    told = Report(reason="Collected", cache=CacheReport(**report)).model_dump_json(by_alias=True)  # type: ignore[arg-type]
    state = {"terminated": {"exitCode": 0, "message": told, "finishedAt": "t"}}
    owners = [{"controller": True, "uid": job["metadata"]["uid"]}]
    return {
        "metadata": {"ownerReferences": owners},
        "status": {"containerStatuses": [{"name": "collect", "state": state}]},
    }


def collection(
    settings: Settings, keep: set[str], decided: float, remove: Collection[str] = ()
) -> Manifest:
    job = collect_job(claim(), keep, decided, settings, remove=remove)
    return {**job, "metadata": {**job["metadata"], "uid": "job", "resourceVersion": "1"}}


def test_one_collection_at_a_time_and_its_finding_is_noted_once(settings: Settings) -> None:
    before, job = noted(A, B), collection(settings, {B}, NOW - 9)
    assert judge(before, using(B), job) == Verdict(busy=True)
    pod = ended(job, copies=2, bytes=18, unused=1, unused_bytes=9, next_seconds=50)
    found = noted(B, decided=NOW - 9, due=NOW + 50, copies=2, bytes=18, unused=1, unused_bytes=9)
    assert judge(before, using(B), job, pods=[pod]) == Verdict(note=found, wait=50)
    assert judge(found, using(B), job, pods=[pod]) == Verdict(wait=50)


def test_what_a_collection_was_to_remove_and_what_it_left_is_noted(settings: Settings) -> None:
    job = collection(settings, {A}, NOW - 9, remove={B})
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][-4:] == ["--keep", A, "--remove", B]
    left = UnusedCopy(key=C, bytes=9, since=1, goes=2, source="hf://acme/c", revision="c0ffee")
    pod = ended(job, copies=2, bytes=18, unused=1, unused_bytes=9, listed=(left,))
    found = judge(noted(A, B), using(A), job, pods=[pod], asked=B).note
    assert found is not None
    assert (found.asked, found.listed) == ({B}, (left,))


def test_without_an_end_of_their_time_unused_copies_are_only_looked_at(settings: Settings) -> None:
    cache = settings.weights.model_copy(update={"unused_ttl": None})
    job = collection(settings.model_copy(update={"weights": cache}), set(), NOW)
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"][3:5] == ["--ttl", "inf"]


def test_what_went_meanwhile_asks_for_the_next_collection_at_once(settings: Settings) -> None:
    job = collection(settings, {B}, NOW - 9)
    pod = ended(job, copies=1, bytes=9, unused=0, unused_bytes=0)
    found = noted(B, decided=NOW - 9, copies=1, bytes=9, unused=0, unused_bytes=0)
    assert judge(noted(A, B), using(), job, pods=[pod]) == Verdict(note=found, collect=True)


def test_a_note_survives_the_claim_and_nonsense_is_none() -> None:
    note = noted(A, B, decided=1.5, due=2.5, copies=3, bytes=4, unused=1, unused_bytes=2)
    assert read_note(claim(note=note)) == note
    listed = (UnusedCopy(key=C, bytes=9), UnusedCopy(key=A, bytes=1, since=1, source="hf://a/b"))
    more = replace(note, asked=frozenset({C}), listed=listed)
    assert read_note(claim(note=more)) == more
    assert read_note(claim()) is None
    broken = claim()
    broken["metadata"]["annotations"] = {"kubeembed.dev/cache": json.dumps(["x"])}
    assert read_note(broken) is None


def test_models_claims_and_collections_wake_the_caches(
    document: Document, settings: Settings
) -> None:
    store = stored(document())
    caches = caches_of("search")
    assert woken(store, MODEL, document()) == [("search", "minilm"), caches]
    assert woken(store, CLAIM, claim()) == [("search", "minilm"), caches]
    job = collection(settings, set(), NOW)
    assert woken(store, JOB, job) == [caches]
    store.put(JOB, job)
    assert [each["metadata"]["uid"] for each in store.children(JOB, caches)] == ["job"]


def test_the_collecting_job_as_a_whole(settings: Settings) -> None:
    labels = {
        "app.kubernetes.io/component": "collect",
        "app.kubernetes.io/managed-by": "kubeembed",
    }
    assert collect_job(claim(), {B, A}, 1_800_000_000.5, settings) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "annotations": {
                "kubeembed.dev/decided": "1800000000.5",
                "kubeembed.dev/keys": f"{A} {B}",
            },
            "labels": labels,
            "name": "kubeembed-weights-collect-6b49d200",
            "namespace": "search",
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "blockOwnerDeletion": False,
                    "controller": True,
                    "kind": "PersistentVolumeClaim",
                    "name": "kubeembed-weights",
                    "uid": "claim-uid",
                }
            ],
        },
        "spec": {
            "activeDeadlineSeconds": 600,
            "backoffLimit": 3,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "args": [
                                *("collect", "--root", "/var/cache/kubeembed"),
                                *("--ttl", "604800", "--decided", "1800000000.5"),
                                *("--keep", A, B),
                            ],
                            "command": ["kubeembed-weights"],
                            "env": [],
                            "image": "kubeembed/control:1",
                            "imagePullPolicy": "IfNotPresent",
                            "name": "collect",
                            "resources": {
                                "limits": {"memory": "256Mi"},
                                "requests": {"cpu": "10m", "memory": "64Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                            "terminationMessagePath": "/dev/termination-log",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [
                                {"mountPath": "/var/cache/kubeembed", "name": "weights"}
                            ],
                        }
                    ],
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    "securityContext": {
                        "fsGroup": 10001,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "runAsGroup": 10001,
                        "runAsNonRoot": True,
                        "runAsUser": 10001,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumes": [
                        {
                            "name": "weights",
                            "persistentVolumeClaim": {"claimName": "kubeembed-weights"},
                        }
                    ],
                },
            },
            "ttlSecondsAfterFinished": 300,
        },
    }


def test_metrics_tell_the_size_of_each_copy_and_who_shares_it(document: Document) -> None:
    store = stored(
        having(document(), A), having(document(name="two"), A), having(document(name="three"), B)
    )
    note = noted(A, B, copies=3, bytes=27, unused=1, unused_bytes=9)
    store.put(CLAIM, claim(note=note))
    registry = CollectorRegistry()
    registry.register(CacheFigures(store))
    lines = generate_latest(registry).decode().splitlines()
    of = 'namespace="search"'
    assert [line for line in lines if not line.startswith("#")] == [
        f'kubeembed_weights_bytes{{key="{A}",{of}}} 9.0',
        f'kubeembed_weights_bytes{{key="{B}",{of}}} 9.0',
        f'kubeembed_weights_models{{key="{A}",{of}}} 2.0',
        f'kubeembed_weights_models{{key="{B}",{of}}} 1.0',
        f'kubeembed_cache_bytes{{claim="kubeembed-weights",{of},node=""}} 27.0',
        f'kubeembed_cache_unused_bytes{{claim="kubeembed-weights",{of},node=""}} 9.0',
    ]
