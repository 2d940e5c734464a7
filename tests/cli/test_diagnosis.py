"""What a cluster shows of a model -> the one reason, by whole values."""

import json
from dataclasses import replace

import pytest

from evidencekit import (
    container,
    deployment,
    evidence,
    installation,
    metadata,
    model,
    pod,
    warning,
)
from kubeembed_api.reasons import Reason
from kubeembed_api.remedies import EXPLANATIONS
from kubeembed_cli.diagnosis import diagnose
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.verdict import LogOf, Subject, Verdict, Words

MINILM = Subject("EmbeddingModel", "search", "minilm")
SINCE = "2026-01-01T11:58:00Z"


def told(found: Evidence) -> Verdict:
    """Without the list of what was looked at, which has a test of its own."""
    return replace(diagnose(found), looked_at=())


def verdict(reason: str, subject: Subject, message: str, **more: object) -> Verdict:
    way_out = EXPLANATIONS[Reason(reason)].way_out.replace("NAME", "minilm")
    facts = {"way_out": way_out, "since": SINCE, **more}
    return Verdict(ready=False, reason=reason, subject=subject, message=message, **facts)  # type: ignore[arg-type]


def test_a_model_that_serves_is_ready() -> None:
    found = evidence(model("Ready", "answers at http://minilm.search.svc"))
    assert told(found) == Verdict(
        ready=True,
        reason="Ready",
        subject=MINILM,
        message="answers at http://minilm.search.svc",
        since=SINCE,
    )


def test_a_mistake_in_the_document_is_the_documents() -> None:
    problem = "spec.resources.profile: there is no profile h100; have: cpu, l4"
    assert told(evidence(model("InvalidSpec", problem))) == verdict("InvalidSpec", MINILM, problem)


def test_a_source_that_refuses_is_told_of_the_pod_that_asked() -> None:
    problem = "hf://acme/nothing does not exist"
    report = f'{{"reason": "SourceNotFound", "message": "{problem}"}}'
    ended = {"exitCode": 1, "message": report}
    asked = pod("minilm-fetch-1", "weights", container("fetch", restarts=2, running={}, last=ended))
    found = evidence(
        model("SourceNotFound", problem, part="WeightsReady"),
        pods=(asked,),
        warnings=(warning(asked, "BackOff", "Back-off restarting failed container"),),
    )
    state = "container fetch runs since None and is not ready; restarts: 2"
    assert told(found) == verdict(
        "SourceNotFound",
        Subject("Pod", "search", "minilm-fetch-1"),
        problem,
        words=(Words("Pod minilm-fetch-1", (state,)),),
    )


def test_while_a_fetch_is_tried_again_the_failure_before_is_the_reason() -> None:
    ended = {"exitCode": 1, "message": '{"reason": "SourceNotFound", "message": "no v9"}'}
    serving = {"conditions": [{"type": "Ready", "status": "True"}]}
    again = container("fetch", restarts=2, running={}, last=ended)
    asked = pod("minilm-fetch-1", "weights", again, **serving)
    found = evidence(model("Fetching", "is being fetched", part="WeightsReady"), pods=(asked,))
    assert told(found) == verdict(
        "SourceNotFound",
        Subject("Pod", "search", "minilm-fetch-1"),
        "no v9",
        notes=("it is being tried again right now",),
    )


def test_a_pod_without_a_node_is_told_with_the_schedulers_words() -> None:
    problem = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    stuck = pod("minilm-1", "serving", conditions=[{**condition, "message": problem}])
    old = pod("minilm-0", "serving", conditions=[{"type": "Ready", "status": "True"}])
    found = evidence(
        model("Unschedulable", problem, part="Available"),
        pods=(old, stuck),
        warnings=(warning(stuck, "FailedScheduling", problem),),
    )
    assert told(found) == verdict("Unschedulable", Subject("Pod", "search", "minilm-1"), problem)


def test_what_a_pod_waits_for_is_told_by_its_newest_warning() -> None:
    waits = pod("minilm-1", "serving", container(waiting={"reason": "ContainerCreating"}))
    found = evidence(
        model("Starting", "pods are starting", part="Available"),
        pods=(waits,),
        warnings=(
            warning(waits, "FailedMount", "timed out", at="2026-01-01T11:57:00Z"),
            warning(waits, "FailedMount", "no such\n volume", at="2026-01-01T11:59:00Z"),
            warning({"metadata": metadata("other")}, "FailedMount", "not ours"),
        ),
    )
    assert told(found) == verdict(
        "Starting",
        Subject("Pod", "search", "minilm-1"),
        "pods are starting",
        words=(
            Words("Pod minilm-1", ("container runtime waits: ContainerCreating",)),
            Words("Event FailedMount", ("no such volume",)),
        ),
    )


@pytest.mark.parametrize(
    ("reason", "state", "log"),
    [
        pytest.param(
            "CrashLoop", {"waiting": {"reason": "CrashLoopBackOff"}}, "previous", id="waits"
        ),
        pytest.param("CrashLoop", {"terminated": {"exitCode": 1}}, "this", id="ended just now"),
        pytest.param("OutOfMemory", {"running": {}}, "previous", id="runs again"),
        pytest.param("InvalidRecipe", {"running": {}}, None, id="says all itself"),
    ],
)
def test_the_log_of_the_run_that_failed_belongs_to_it(
    reason: str, state: dict[str, object], log: str | None
) -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled" if reason == "OutOfMemory" else "Error"}
    fails = pod("minilm-1", "serving", container(restarts=1, last=ended, **state))
    if reason == "InvalidRecipe":
        ended["message"] = '{"reason": "InvalidRecipe", "message": "no"}'
    found = told(evidence(model(reason, "no", part="Available"), pods=(fails,)))
    expected = LogOf("search", "minilm-1", "runtime", previous=log == "previous") if log else None
    assert (found.subject, found.log) == (Subject("Pod", "search", "minilm-1"), expected)


def test_a_claim_that_is_not_bound_is_told_with_its_event() -> None:
    claim = {"metadata": metadata("kubeembed-weights"), "status": {"phase": "Pending"}}
    problem = "claim kubeembed-weights is not bound"
    found = evidence(
        model("ClaimPending", problem, part="WeightsReady"),
        claims=(claim,),
        pods=(pod("minilm-fetch-1", "weights"),),
        warnings=(warning(claim, "ProvisioningFailed", "no volume plugin matched"),),
    )
    assert told(found) == verdict(
        "ClaimPending",
        Subject("PersistentVolumeClaim", "search", "kubeembed-weights"),
        problem,
        words=(Words("Event ProvisioningFailed", ("no volume plugin matched",)),),
    )


@pytest.mark.parametrize(
    ("part", "kind", "name"),
    [
        ("WeightsReady", "Job", "minilm-fetch-1"),
        ("Available", "Deployment", "minilm"),
        ("", "Deployment", "minilm"),
    ],
)
def test_where_no_pod_may_be_made_its_owner_is_to_blame(part: str, kind: str, name: str) -> None:
    problem = 'pods "minilm-1" is forbidden: exceeded quota'
    found = evidence(
        model("PodsForbidden", problem, part=part),
        jobs=({"metadata": metadata("minilm-fetch-1")},),
        deployment=deployment("minilm"),
    )
    assert told(found) == verdict("PodsForbidden", Subject(kind, "search", name), problem)


def test_pods_that_are_done_or_ready_are_not_to_blame() -> None:
    problem = "adapter bad: r is 0"
    fetched = pod("minilm-adapter-1", "adapter", phase="Succeeded")
    serves = pod("minilm-1", "serving", conditions=[{"type": "Ready", "status": "True"}])
    found = evidence(model("AdapterRefused", problem, part="AdaptersReady"), pods=(fetched, serves))
    assert told(found) == verdict("AdapterRefused", MINILM, problem)


def test_progress_and_adapters_that_are_amiss_are_noted() -> None:
    adapters = [
        {"name": "good", "reason": "Loaded"},
        {"name": "bad", "reason": "AdapterRefused", "message": "r is 0"},
    ]
    facts = {"weights": {"progress": "40%"}, "adapters": adapters}
    found = evidence(model("Fetching", "is being fetched", part="WeightsReady", **facts))
    assert told(found) == verdict(
        "Fetching",
        MINILM,
        "is being fetched",
        notes=("weights: 40% are here", "adapter bad: AdapterRefused: r is 0"),
    )


def test_a_reason_of_a_newer_operator_is_passed_on() -> None:
    found = told(evidence(model("Bored", "nobody asks", part="Available")))
    assert (found.reason, found.message) == ("Bored", "nobody asks")
    assert "older than the operator" in found.way_out


def test_a_change_that_the_operator_has_not_seen_is_said() -> None:
    changed = model("Ready", "answers", observedGeneration=2)
    lead = {"metadata": metadata("op-1", "system"), "status": {}}
    found = evidence(changed, installations=(installation(pods=(lead,)),))
    assert told(found) == Verdict(
        ready=False,
        reason="StatusOutdated",
        subject=MINILM,
        message="the model is of generation 3 and has a status of generation 2",
        way_out="wait some seconds; if it stays, the operator is overloaded or fails at it: "
        "look at its log",
        log=LogOf("system", "op-1", "operator", holding="search/minilm"),
    )


def test_a_model_that_is_going_says_what_holds_it() -> None:
    going = model("Ready", "answers")
    going["metadata"] |= {"deletionTimestamp": SINCE, "finalizers": ["acme.dev/keep"]}
    found = told(evidence(going))
    assert (found.ready, found.reason, found.since) == (False, "Deleted", SINCE)
    assert found.message.endswith("finalizers that it waits for: acme.dev/keep")


def test_what_was_looked_at_is_listed() -> None:
    claim = {"metadata": metadata("kubeembed-weights"), "status": {"phase": "Bound"}}
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    serves = pod("minilm-1", "serving", conditions=[{"type": "Ready", "status": "True"}])
    found = evidence(
        model("Ready", "answers"),
        deployment=deployment("minilm", ready=1),
        jobs=({"metadata": metadata("minilm-fetch-1"), "status": done},),
        pods=(serves,),
        claims=(claim,),
        installations=(installation(watches="search"),),
    )
    assert diagnose(found).looked_at == (
        "EmbeddingModel minilm: generation 3, status of 3; Ready=True",
        "Deployment minilm: 1/1 replicas; 1 of 1 Pods ready",
        "Job minilm-fetch-1: complete",
        "PersistentVolumeClaim kubeembed-weights: Bound",
        "Events of the namespace that warn: 0",
        "operator in system for namespace search: Lease renewed 2 s ago by op-1",
    )
    blind = diagnose(evidence(model("Ready", "answers"), installations=None)).looked_at
    assert blind[-1].startswith("the operator: not looked at")
    alone = diagnose(evidence(model("Ready", "answers"), installations=())).looked_at
    assert alone[-1] == "the operator: no Lease and no Deployment anywhere"


def test_a_model_that_the_operator_has_not_looked_at_yet_is_said() -> None:
    told = diagnose(evidence({"metadata": metadata("minilm", generation=1)}))
    assert (told.reason, told.log) == ("StatusOutdated", None)
    assert told.message == "the model is of generation 1 and has no status"


def test_what_waits_for_a_persons_word_is_the_documents_and_nobodys_fault() -> None:
    message = "http://minilm-next.search.svc answers in vector space b"
    serving = {"conditions": [{"type": "Ready", "status": "True"}]}
    coming = pod("minilm-next-1", "next", **serving)
    found = evidence(
        model("PromotionPending", message), deployment=deployment("minilm"), pods=(coming,)
    )
    assert told(found) == verdict("PromotionPending", MINILM, message)


def test_what_keeps_next_pods_from_being_promoted_is_told_of_the_pod() -> None:
    message = "2 of 2 golden texts are below minCosine 0.999"
    ended = {"exitCode": 1, "message": f'{{"reason": "GoldenMismatch", "message": "{message}"}}'}
    coming = pod("minilm-next-1", "next", container(waiting={"reason": "C"}, last=ended))
    found = evidence(model("GoldenMismatch", message), pods=(coming,))
    subject = Subject("Pod", "search", "minilm-next-1")
    words = (Words("Pod minilm-next-1", ("container runtime waits: C",)),)
    assert told(found) == verdict("GoldenMismatch", subject, message, words=words)


def test_an_adapter_that_stops_a_roll_out_is_told_of_the_pod_with_its_text() -> None:
    said = "adapter 'legal' cannot be served: 1 of 1 golden texts are below minCosine 0.999; the worst:"
    said += " line 1, 'a cat', has cosine 0.5000 (fingerprint f00d). This pod takes no requests"
    ended = {"exitCode": 1, "message": json.dumps({"reason": "GoldenMismatch", "message": said})}
    stuck = pod("minilm-2", "serving", container(waiting={"reason": "C"}, last=ended))
    serves = pod("minilm-1", "serving", conditions=[{"type": "Ready", "status": "True"}])
    found = evidence(model("GoldenMismatch", f"a pod: {said}"), pods=(serves, stuck))
    subject = Subject("Pod", "search", "minilm-2")
    words = (Words("Pod minilm-2", ("container runtime waits: C",)),)
    assert told(found) == verdict("GoldenMismatch", subject, f"a pod: {said}", words=words)


def test_an_adapter_that_is_refused_alone_is_told_of_the_model() -> None:
    said = "adapter legal: 1 of 1 golden texts are below minCosine 0.999"
    status = {"adapters": [{"name": "legal", "reason": "GoldenMismatch", "message": "1 of 1"}]}
    written = model("GoldenMismatch", said, part="AdaptersReady", **status)
    serves = pod("minilm-1", "serving", conditions=[{"type": "Ready", "status": "True"}])
    found = evidence(written, pods=(serves,))
    subject = Subject("EmbeddingModel", "search", "minilm")
    notes = ("adapter legal: GoldenMismatch: 1 of 1",)
    assert told(found) == verdict("GoldenMismatch", subject, said, notes=notes)
