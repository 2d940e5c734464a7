"""What is known of adapters: fetched, accepted, refused, and what it makes of plan, conditions and status."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.caches import keys_on
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import adapter_job_name
from kubeembed_api.placed import read_placed
from kubeembed_api.reasons import Reason
from kubeembed_operator import adapters as known_adapters
from kubeembed_operator.adapterlists import Lists, lists_of, offered, placed, takers
from kubeembed_operator.adapters import AdapterCopy, AdapterState, Refusal, Verdict
from kubeembed_operator.adapterstatus import adapter_statuses, summary
from kubeembed_operator.conditions import adapters_ready, conditions
from kubeembed_operator.jobs import ADAPTER_JOBS, ADAPTERS_AT_ONCE
from kubeembed_operator.kinds import JOB, Manifest
from kubeembed_operator.listings import Held, Listing, identity
from kubeembed_operator.manifests.adapters import adapter_job, adapter_request
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import Plan, plan
from kubeembed_operator.settings import Settings
from kubeembed_operator.status import status
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

LEGAL = {"name": "legal", "source": "hf://acme/legal"}
FETCHED = '{"reason": "Fetched", "key": "k2", "revision": "c2", "bytes": 9}'
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))
NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
OLD = AdapterCopy(request="old", key="k1", revision="c1", fingerprint="f1")
BASE = "of the document's base"
#: What the pods of the document's base were told before: the old copy.
LISTS = Lists(wanted=BASE, live=BASE, kept={BASE: {"legal": "/var/cache/kubeembed/k1"}})


def pod(name: str, base: str = BASE, is_ready: bool = True) -> Manifest:
    """A serving pod of that list."""
    told = {"type": "Ready", "status": str(is_ready)}
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "annotations": {"kubeembed.dev/adapters": base},
        },
        "status": {"conditions": [told], "containerStatuses": [{"restartCount": 0}]},
    }


def adapters_of(
    model: EmbeddingModel, raw: Manifest, observed: Observed, base: str = BASE
) -> tuple[AdapterState, ...]:
    return known_adapters.adapters_of(model, raw, observed, base)


def concluded(
    model: EmbeddingModel,
    states: tuple[AdapterState, ...],
    verdicts: dict[str, Verdict],
    observed: Observed,
) -> tuple[AdapterState, ...]:
    asked = takers(observed, LISTS)
    return known_adapters.concluded(model, states, verdicts, observed, BASE, asked)


def request_of(model: EmbeddingModel, index: int = 0) -> str:
    return adapter_request(model, model.spec.adapters[index])


def job(model: EmbeddingModel, index: int = 0, **job_status: Any) -> Manifest:
    name = adapter_job_name(model.name, request_of(model, index))
    return {"metadata": {"name": name, "uid": name}, "status": job_status}


def ended(job: Manifest, message: str = FETCHED, code: int = 0) -> Manifest:
    """The pod of a fetch, with its last word."""
    owners = [{"controller": True, "uid": job["metadata"]["uid"], "kind": "Job"}]
    told = {"terminated": {"exitCode": code, "message": message, "finishedAt": "12:00"}}
    containers = [{"name": "fetch", "state": told}]
    return {"metadata": {"ownerReferences": owners}, "status": {"containerStatuses": containers}}


def raw(**entry: Any) -> Manifest:
    """A model whose status has this of the adapter."""
    return {"status": {"adapters": [{"name": "legal", **entry}]}}


def test_one_that_nobody_has_heard_of_is_to_be_fetched(model: Build) -> None:
    legal = model(adapters=[LEGAL])
    [state] = adapters_of(legal, {}, Observed())
    assert state == AdapterState(adapter=legal.spec.adapters[0], request=request_of(legal))
    assert state.to_fetch
    lists = Lists(wanted=BASE)
    assert (placed(legal, [state], lists), offered(legal, [state], lists)) == ({}, {})


def test_what_status_remembers_is_served_and_not_fetched_again(model: Build) -> None:
    legal = model(adapters=[LEGAL])
    known = raw(request=request_of(legal), key="k1", revision="c1", fingerprint="f1")
    [state] = adapters_of(legal, known, Observed())
    assert state.copy == replace(OLD, request=request_of(legal))
    assert not state.to_fetch
    wanted = {"legal": "/var/cache/kubeembed/k1"}
    lists = Lists(wanted=BASE)
    assert placed(legal, [state], lists) == offered(legal, [state], lists) == wanted


def test_a_new_revision_is_offered_beside_the_old_until_a_pod_has_loaded_it(model: Build) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2"}])
    fetch = job(legal)
    observed = Observed(adapter_jobs=(fetch,), fetch_pods=(ended(fetch),), serving_pods=(pod("a"),))
    [state] = adapters_of(legal, raw(request="old", key="k1", revision="c1"), observed)
    assert placed(legal, [state], LISTS) == {"legal": "/var/cache/kubeembed/k1"}
    assert offered(legal, [state], LISTS) == {"legal": "/var/cache/kubeembed/k2"}
    assert concluded(legal, (state,), {}, observed) == (state,)
    [after] = concluded(legal, (state,), {"legal": Verdict()}, observed)
    assert after.copy == AdapterCopy(request=request_of(legal), key="k2", revision="c2")
    assert (after.candidate, after.settled) == (None, True)


def test_without_a_pod_that_could_refuse_it_a_new_one_is_taken(model: Build) -> None:
    legal = model(adapters=[LEGAL])
    fetch = job(legal)
    starting = pod("a", is_ready=False)
    observed = Observed(adapter_jobs=(fetch,), fetch_pods=(ended(fetch),), serving_pods=(starting,))
    [after] = concluded(legal, adapters_of(legal, {}, observed), {}, observed)
    assert after.settled


def refused(model: EmbeddingModel, observed: Observed) -> Manifest:
    """Status after the pods have refused what the document asks for."""
    candidate = AdapterCopy(request=request_of(model), key="k2")
    state = AdapterState(
        adapter=model.spec.adapters[0], request=request_of(model), copy=OLD, candidate=candidate
    )
    verdicts = {"legal": Verdict(error="it does not fit")}
    [after] = concluded(model, (state,), verdicts, observed)
    assert after.copy == OLD
    assert after.candidate is None
    [told] = adapter_statuses(model, [after], observed.serving_pods, {}, LISTS)
    return {"status": {"adapters": [told.entry(1)]}}


def test_what_pods_refused_is_not_fetched_or_offered_again(model: Build) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2"}])
    observed = Observed(serving_pods=(pod("a"),))
    known = refused(legal, observed)
    fetch = job(legal)
    later = Observed(serving_pods=(pod("b"),), adapter_jobs=(fetch,), fetch_pods=(ended(fetch),))
    for seen in (observed, later, Observed()):
        [state] = adapters_of(legal, known, seen)
        assert state.copy == replace(OLD)
        assert state.refusal is not None
        assert state.refusal.message == "it does not fit"
        assert not state.to_fetch
        assert offered(legal, [state], LISTS) == {"legal": "/var/cache/kubeembed/k1"}


def test_what_pods_refused_is_tried_again_when_it_or_their_base_is_another(model: Build) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2"}])
    observed = Observed(serving_pods=(pod("a"),))
    known = refused(legal, observed)
    [state] = adapters_of(legal, known, observed, "another")
    assert state.to_fetch
    corrected = model(adapters=[{**LEGAL, "revision": "v3"}])
    [state] = adapters_of(corrected, known, observed)
    assert state.to_fetch


DIFFERS = Verdict(error="line 1 has cosine 0.5", reason=Reason.GOLDEN_MISMATCH)


def differing(model: EmbeddingModel, observed: Observed) -> tuple[AdapterState, Manifest]:
    """After pods have refused the new revision by its golden vectors: the state, and its entry."""
    candidate = AdapterCopy(request=request_of(model), key="k2", revision="c2")
    state = AdapterState(
        adapter=model.spec.adapters[0], request=request_of(model), copy=OLD, candidate=candidate
    )
    [after] = concluded(model, (state,), {"legal": DIFFERS}, observed)
    serves = {"a 0": {"legal": Held(path="/var/cache/kubeembed/k1", fingerprint="f1")}}
    [told] = adapter_statuses(model, [after], observed.serving_pods, serves, LISTS)
    return after, told.entry(1)


def test_one_whose_vectors_are_others_is_told_and_the_old_one_serves(model: Build) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2"}])
    observed = Observed(serving_pods=(pod("a"),))
    after, entry = differing(legal, observed)
    assert entry == {
        "name": "legal",
        "request": "old",
        "key": "k1",
        "revision": "c1",
        "fingerprint": "f1",
        "ready": "1/1",
        "reason": "GoldenMismatch",
        "message": "line 1 has cosine 0.5",
        "refused": f"{request_of(legal)}-{BASE}",
        "refusedKey": "k2",
        "refusedRevision": "c2",
    }
    assert placed(legal, [after], LISTS) == {"legal": "/var/cache/kubeembed/k1"}


def test_it_is_offered_again_because_golden_vectors_may_be_written_anew(model: Build) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2"}])
    observed = Observed(serving_pods=(pod("a"),))
    after, entry = differing(legal, observed)
    known = {"status": {"adapters": [entry]}}
    [state] = adapters_of(legal, known, observed)
    assert state == after
    assert not state.to_fetch
    assert offered(legal, [state], LISTS) == {"legal": "/var/cache/kubeembed/k2"}
    assert concluded(legal, (state,), {"legal": DIFFERS}, observed) == (state,)
    # nobody is there to say otherwise: what the golden vectors refused is not taken unseen
    assert concluded(legal, (state,), {}, Observed()) == (state,)
    [taken] = concluded(legal, (state,), {"legal": Verdict()}, observed)
    assert (taken.settled, taken.refusal) == (True, None)
    [lost] = concluded(legal, (state,), {"legal": Verdict(missing=True)}, observed)
    assert lost.to_fetch
    [other] = adapters_of(legal, known, observed, "another base")
    assert other.to_fetch


def test_the_copy_that_was_refused_by_golden_vectors_is_in_use(
    model: Build, document: Callable[..., Manifest]
) -> None:
    legal = model(adapters=[LEGAL])
    _, entry = differing(legal, Observed(serving_pods=(pod("a"),)))
    entry |= {"key": "1" * 32, "refusedKey": "2" * 32}
    written = document(adapters=[LEGAL]) | {"status": {"adapters": [entry]}}
    found = keys_on("kubeembed-weights", written, deployments=(), config_map=None, pods=())
    assert found == {"1" * 32, "2" * 32}


def test_a_copy_that_a_pod_did_not_find_is_fetched_again_by_another_job(
    model: Build, settings: Settings
) -> None:
    legal = model(adapters=[LEGAL])
    known = raw(request=request_of(legal), key="k2")
    first = job(legal)
    observed = Observed(
        adapter_jobs=(first,), fetch_pods=(ended(first),), serving_pods=(pod("a"), pod("b"))
    )
    missing = {"legal": Verdict(missing=True)}
    [state] = concluded(legal, adapters_of(legal, known, observed), missing, observed)
    [told] = adapter_statuses(legal, [state], observed.serving_pods, {}, LISTS)
    known = {"status": {"adapters": [told.entry(2)]}}
    assert planned(legal, settings, observed, known).delete == ((JOB, first),)
    assert len(jobs(planned(legal, settings, Observed(), known))) == 1
    again = {**first, "metadata": {**first["metadata"], "uid": "again"}}
    observed = replace(observed, adapter_jobs=(again,), fetch_pods=(ended(again),))
    [state] = adapters_of(legal, known, observed)
    # pods that have it in memory serve it all the time
    assert offered(legal, [state], LISTS) == {"legal": "/var/cache/kubeembed/k2"}
    assert concluded(legal, (state,), missing, observed) == (state,)
    [after] = concluded(legal, (state,), {"legal": Verdict()}, observed)
    assert (after.settled, after.lost) == (True, None)


def test_the_request_changes_with_what_is_asked_and_with_nothing_else(model: Build) -> None:
    first = request_of(model(adapters=[LEGAL]))
    assert request_of(model(adapters=[{"name": "a", "source": "hf://a/b"}, LEGAL]), 1) == first
    others = [
        model(adapters=[{**LEGAL, "revision": "v2"}]),
        model(adapters=[{**LEGAL, "source": "hf://acme/other"}]),
        model(adapters=[{**LEGAL, "credentialsSecret": "token"}]),
        model(adapters=[LEGAL], annotations={"kubeembed.dev/resolve": "1"}),
        model(adapters=[LEGAL], weights={"claim": "mine"}),
    ]
    assert len({first, *map(request_of, others)}) == 6


# The plan


def planned(
    model: EmbeddingModel, settings: Settings, observed: Observed, known: Manifest | None = None
) -> Plan:
    wanted = lists_of(model, THERE, observed).wanted
    states = known_adapters.adapters_of(model, known or {}, observed, wanted)
    return plan(model, settings, observed, THERE, states)


def jobs(found: Plan) -> list[str]:
    return [each["metadata"]["name"] for each in found.apply if each["kind"] == "Job"]


def adapters_file(found: Plan) -> list[str]:
    """Of the one list that there is."""
    data = next(each["data"] for each in found.apply if each["kind"] == "ConfigMap")
    [text] = [data[key] for key in data if key.startswith("adapters-")]
    return [f"{each.name} {each.path}" for each in read_placed(text)]


def test_a_job_is_wanted_until_status_has_its_result(model: Build, settings: Settings) -> None:
    legal = model(adapters=[LEGAL])
    found = planned(legal, settings, Observed())
    assert jobs(found) == [f"minilm-adapter-{request_of(legal)}"]
    assert adapters_file(found) == []
    known = raw(request=request_of(legal), key="k1")
    found = planned(legal, settings, Observed(), known)
    assert jobs(found) == []
    assert adapters_file(found) == ["legal /var/cache/kubeembed/k1"]


def test_adapters_that_come_and_go_leave_the_deployment_as_it_is(
    model: Build, settings: Settings
) -> None:
    def deployment(**fields: Any) -> Manifest:
        found = planned(model(**fields), settings, Observed())
        return next(each for each in found.apply if each["kind"] == "Deployment")

    assert deployment() == deployment(adapters=[LEGAL])


def test_pods_of_weights_on_a_claim_mount_the_cache_once_they_have_an_adapter(
    model: Build, settings: Settings
) -> None:
    mounted = {"model": {"source": "pvc://models/bge"}}
    found = planned(model(**mounted), settings, Observed())
    assert "PersistentVolumeClaim" not in [each["kind"] for each in found.apply]
    legal = model(**mounted, adapters=[LEGAL])
    found = planned(legal, settings, Observed(), raw(request=request_of(legal), key="k1"))
    assert "PersistentVolumeClaim" in [each["kind"] for each in found.apply]
    assert adapters_file(found) == ["legal /var/cache/kubeembed-adapters/k1"]
    pod = found.apply[-1]["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [
        {"claimName": "models", "readOnly": True},
        {"claimName": "kubeembed-weights", "readOnly": True},
    ]
    assert pod["containers"][0]["volumeMounts"][-1] == {
        "mountPath": "/var/cache/kubeembed-adapters",
        "name": "adapters",
        "readOnly": True,
    }


def test_few_are_fetched_side_by_side_and_those_in_trouble_take_no_room(
    model: Build, settings: Settings
) -> None:
    many = model(adapters=[{**LEGAL, "name": f"a{number}"} for number in range(9)])
    assert len(jobs(planned(many, settings, Observed()))) == ADAPTERS_AT_ONCE
    running = stamped(adapter_job(many, many.spec.adapters[0], settings))
    running["metadata"]["uid"] = "u"
    observed = Observed(adapter_jobs=(running,))
    assert len(jobs(planned(many, settings, observed))) == ADAPTERS_AT_ONCE - 1
    denied = ended(running, '{"reason": "SourceForbidden", "message": "no access"}', 1)
    observed = Observed(adapter_jobs=(running,), fetch_pods=(denied,))
    assert len(jobs(planned(many, settings, observed))) == ADAPTERS_AT_ONCE


def test_when_a_source_is_gone_not_every_adapter_holds_a_pod(
    model: Build, settings: Settings
) -> None:
    many = model(adapters=[{**LEGAL, "name": f"a{number}"} for number in range(40)])
    denied = []
    for adapter in many.spec.adapters[: ADAPTER_JOBS - 1]:
        job = stamped(adapter_job(many, adapter, settings))
        job["metadata"]["uid"] = adapter.name
        denied.append((job, ended(job, '{"reason": "SourceUnavailable", "message": "503"}', 1)))
    made, pods = zip(*denied, strict=True)
    observed = Observed(adapter_jobs=made, fetch_pods=pods)
    assert len(jobs(planned(many, settings, observed))) == 1
    states = adapters_of(many, {}, observed)
    last = adapter_statuses(many, states, (), {}, LISTS)[-1]
    assert last.message == "hf://acme/legal waits until others are fetched"


def test_a_job_that_nobody_wants_is_deleted_unless_it_has_ended(
    model: Build, settings: Settings
) -> None:
    stranger = {"metadata": {"name": "minilm-adapter-00000000"}, "status": {}}
    done = {**stranger, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert planned(model(), settings, Observed(adapter_jobs=(stranger,))).delete == (
        (JOB, stranger),
    )
    assert planned(model(), settings, Observed(adapter_jobs=(done,))).delete == ()


def test_a_job_whose_result_was_lost_begins_anew(model: Build, settings: Settings) -> None:
    legal = model(adapters=[LEGAL])
    lost = job(legal, conditions=[{"type": "Complete", "status": "True"}])
    found = planned(legal, settings, Observed(adapter_jobs=(lost,)))
    assert found.delete == ((JOB, lost),)
    assert jobs(found) == []


def test_the_job_of_an_adapter(model: Build, settings: Settings) -> None:
    legal = model(adapters=[{**LEGAL, "revision": "v2", "credentialsSecret": "hf-token"}])
    made = adapter_job(legal, legal.spec.adapters[0], settings)
    spec = made["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert made["metadata"]["labels"]["app.kubernetes.io/component"] == "adapter"
    assert made["spec"]["ttlSecondsAfterFinished"] == 300
    assert container["command"] == ["kubeembed-weights"]
    assert container["resources"]["requests"] == {"cpu": "250m", "memory": "64Mi"}
    assert container["args"] == [
        "adapter",
        '{"name": "legal", "revision": "v2", "source": "hf://acme/legal"}',
    ]
    assert container["env"][-1] == {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"key": "token", "name": "hf-token"}},
    }
    assert container["volumeMounts"] == [
        {"mountPath": "/tmp", "name": "tmp"},
        {"mountPath": "/var/cache/kubeembed", "name": "weights"},
    ]
    assert spec["volumes"] == [
        {"emptyDir": {}, "name": "tmp"},
        {"name": "weights", "persistentVolumeClaim": {"claimName": "kubeembed-weights"}},
    ]


def test_an_adapter_of_a_claim_is_copied_from_there(model: Build, settings: Settings) -> None:
    mine = model(adapters=[{"name": "legal", "source": "pvc://team/adapters/legal"}])
    spec = adapter_job(mine, mine.spec.adapters[0], settings)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert container["args"][2:] == ["--path", "/var/cache/kubeembed-source/adapters/legal"]
    assert container["volumeMounts"][1:] == [
        {"mountPath": "/var/cache/kubeembed", "name": "weights"},
        {"mountPath": "/var/cache/kubeembed-source", "name": "source", "readOnly": True},
    ]
    assert spec["volumes"][1:] == [
        {"name": "weights", "persistentVolumeClaim": {"claimName": "kubeembed-weights"}},
        {"name": "source", "persistentVolumeClaim": {"claimName": "team", "readOnly": True}},
    ]
    top = model(adapters=[{"name": "legal", "source": "pvc://team"}])
    spec = adapter_job(top, top.spec.adapters[0], settings)["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][2:] == ["--path", "/var/cache/kubeembed-source"]


def test_an_adapter_on_the_cache_s_own_claim_has_it_mounted_once(
    model: Build, settings: Settings
) -> None:
    mine = model(adapters=[{"name": "legal", "source": "pvc://kubeembed-weights/k"}])
    spec = adapter_job(mine, mine.spec.adapters[0], settings)["spec"]["template"]["spec"]
    assert [each["name"] for each in spec["volumes"]] == ["tmp", "weights"]
    assert spec["containers"][0]["volumeMounts"][1:] == [
        {"mountPath": "/var/cache/kubeembed", "name": "weights"},
        {"mountPath": "/var/cache/kubeembed-source", "name": "weights", "readOnly": True},
    ]


def test_the_job_of_an_adapter_runs_as_the_model_s_and_trusts_the_same_cas(
    model: Build, settings: Settings
) -> None:
    source = {"source": "s3://bucket/model", "serviceAccountName": "reader"}
    adapter = {"name": "legal", "source": "s3://bucket/legal", "region": "eu-central-1"}
    private = settings.weights.model_copy(update={"ca_certificates": "-----BEGIN"})
    trusting = settings.model_copy(update={"weights": private})
    legal = model(model=source, adapters=[adapter])
    template = adapter_job(legal, legal.spec.adapters[0], trusting)["spec"]["template"]
    spec = template["spec"]
    [container] = spec["containers"]
    assert spec["serviceAccountName"] == "reader"
    assert '"region": "eu-central-1"' in container["args"][1]
    certificates = {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "minilm"}
    assert spec["volumes"][0] == {"configMap": certificates, "name": "document"}
    assert container["volumeMounts"][0]["mountPath"] == "/etc/kubeembed"


# Conditions and status

SERVES = Held(path="/var/cache/kubeembed/k1", fingerprint="f1")


def held(*each: Held) -> dict[str, Listing]:
    """What pods named a, b, ... have of the adapter."""
    return {f"{'abc'[place]} 0": {"legal": one} for place, one in enumerate(each)}


@pytest.mark.parametrize(
    ("listings", "reason", "ready"),
    [
        (held(SERVES, SERVES), "Loaded", "2/2"),
        (held(SERVES), "NotReady", "1/2"),
        (held(SERVES, Held()), "Loading", "1/2"),
        (held(SERVES, Held(path="/var/cache/kubeembed/k0")), "Loading", "1/2"),
        (
            held(SERVES, Held(refused="/var/cache/kubeembed/k1", error="no")),
            "AdapterRefused",
            "1/2",
        ),
        (
            held(SERVES, Held(refused=SERVES.path, error="no", reason=Reason.GOLDEN_UNREADABLE)),
            "GoldenUnreadable",
            "1/2",
        ),
        (held(SERVES, Held(path=SERVES.path, broken=True)), "Loading", "1/2"),
    ],
    ids=[
        "by all",
        "one is silent",
        "one has none",
        "one has the old",
        "one refused",
        "one has other vectors",
        "broken",
    ],
)
def test_status_counts_the_pods_that_serve_it(
    model: Build, listings: dict[str, Listing], reason: str, ready: str
) -> None:
    legal = model(adapters=[LEGAL])
    known = raw(request=request_of(legal), key="k1", revision="c1")
    pods = (pod("a"), pod("b"))
    states = adapters_of(legal, known, Observed(serving_pods=pods))
    [told] = adapter_statuses(legal, states, pods, listings, LISTS)
    entry = told.entry(2)
    assert (entry["reason"], entry["ready"], entry["fingerprint"]) == (reason, ready, "f1")


def test_the_whole_status_of_a_model_with_adapters(model: Build) -> None:
    legal = model(adapters=[LEGAL, {"name": "medical", "source": "hf://acme/medical"}])
    known = raw(request=request_of(legal), key="k1", revision="c1")
    deployment = {
        "metadata": {},
        "spec": {"replicas": 2},
        "status": {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
    }
    pods = (pod("a"), pod("b"))
    observed = Observed(deployment=deployment, serving_pods=pods)
    states = adapters_of(legal, known, observed)
    told = adapter_statuses(legal, states, pods, held(SERVES, SERVES), LISTS)
    found = conditions(legal, THERE, observed, NOW, told)
    assert {each.type: (each.status, str(each.reason)) for each in found} == {
        "Ready": ("False", "Fetching"),
        "WeightsReady": ("True", "Fetched"),
        "Available": ("True", "Serving"),
        "AdaptersReady": ("False", "Fetching"),
        "Asleep": ("False", "Awake"),
    }
    written = status(
        legal,
        {},
        found,
        weights=THERE,
        observed=observed,
        progress=None,
        infos=(),
        now=NOW,
        adapters=told,
    )
    assert written["adapterSummary"] == "1/2"
    assert written["adapters"] == [
        {
            "name": "legal",
            "request": request_of(legal),
            "key": "k1",
            "revision": "c1",
            "fingerprint": "f1",
            "ready": "2/2",
            "reason": "Loaded",
        },
        {
            "name": "medical",
            "ready": "0/2",
            "reason": "Fetching",
            "message": "hf://acme/medical waits until others are fetched",
        },
    ]


def test_the_condition_names_what_somebody_has_to_do_before_what_is_on_its_way(
    model: Build,
) -> None:
    both = model(adapters=[{"name": "slow", "source": "hf://acme/slow"}, LEGAL])
    slow, legal = adapters_of(both, {}, Observed())
    legal = replace(legal, refusal=Refusal(mark="m", message="use_dora true"))
    told = adapter_statuses(both, (slow, legal), (), {}, LISTS)
    found = adapters_ready(told)
    assert (found.reason, found.message) == (Reason.ADAPTER_REFUSED, "adapter legal: use_dora true")
    assert summary(told) == "0/2"


def test_before_a_pod_is_ready_nothing_is_loaded(model: Build) -> None:
    legal = model(adapters=[LEGAL])
    known = raw(request=request_of(legal), key="k1")
    told = adapter_statuses(legal, adapters_of(legal, known, Observed()), (), {}, LISTS)
    assert adapters_ready(told).reason is Reason.PENDING
    asleep = adapters_ready(told, asleep=True)
    assert (asleep.status, asleep.reason) == ("True", Reason.ASLEEP)
    coming = adapter_statuses(legal, adapters_of(legal, {}, Observed()), (), {}, LISTS)
    assert adapters_ready(coming, asleep=True).status == "False"


def test_a_container_that_started_anew_is_another_one() -> None:
    first, again = pod("a"), pod("a")
    again["status"]["containerStatuses"][0]["restartCount"] = 1
    assert identity(first) != identity(again)
