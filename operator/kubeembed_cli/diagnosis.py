"""Evidence -> the one reason why a model does not serve as asked, or that it does. Pure.

The operator's conditions have the word, because they were made of the same pods. What they cannot say is said
here: that no operator looks, that it has not looked since the last change, and what an object's own Events
and log add to a condition.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kubeembed_api.names import ADAPTER, NEXT, SERVING, WEIGHTS
from kubeembed_api.podreasons import Manifest, last_words, ready, trouble
from kubeembed_api.reasons import Reason
from kubeembed_api.remedies import way_out
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.looked import looked_at
from kubeembed_cli.oversight import CONTAINER, Neglect, acting, neglect
from kubeembed_cli.verdict import Finding, LogOf, Subject, Verdict, Words, condition, subject_of

#: In the order in which a model comes to serve, and the labels of the pods that each is about.
PARTS: Mapping[str, tuple[str, ...]] = {
    "WeightsReady": (WEIGHTS,),
    "Available": (SERVING, NEXT),
    "AdaptersReady": (ADAPTER, SERVING, NEXT),
}
#: Mistakes in the document: no child of it is to blame.
OF_THE_DOCUMENT = frozenset({Reason.INVALID_SPEC, Reason.NOT_SUPPORTED_YET, Reason.NAME_TAKEN})
#: What a person decides, or decided: nobody is to blame.
DECIDED = frozenset({Reason.SCALED_TO_ZERO, Reason.PROMOTION_PENDING, Reason.PROMOTING})
#: Where the container's log says more than the message does.
LOGGED = frozenset(
    {
        Reason.CRASH_LOOP,
        Reason.DEVICE_FAILED,
        Reason.NOT_READY,
        Reason.OUT_OF_MEMORY,
        Reason.STARTING,
    }
)

#: The Event of a container that is started again: its state says as much, and the condition why.
BACK_OFF = "BackOff"


def diagnose(evidence: Evidence) -> Verdict:
    return replace(_found(evidence), looked_at=looked_at(evidence))


def _found(evidence: Evidence) -> Verdict:
    model, alone = evidence.model, neglect(evidence)
    told = condition(model, "Ready")
    if "deletionTimestamp" in model["metadata"]:
        return _deleted(evidence)
    if _outdated(model) or not told:
        return _unseen(evidence) if alone is None else _neglected(alone, told)
    if told["status"] == "True" and (alone is None or _serves(evidence.deployment)):
        return _good(evidence, told, alone)
    return _of_condition(evidence, told) if alone is None else _neglected(alone, told)


def _good(evidence: Evidence, told: Mapping[str, Any], alone: Neglect | None) -> Verdict:
    notes = () if alone is None else (f"but nobody looks after it: {alone.message}", alone.way_out)
    return Verdict(
        ready=True,
        reason=told["reason"],
        subject=_model(evidence),
        message=told["message"],
        since=told.get("lastTransitionTime"),
        notes=notes,
    )


def _deleted(evidence: Evidence) -> Verdict:
    keepers = ", ".join(evidence.model["metadata"].get("finalizers") or ()) or "none"
    return Verdict(
        ready=False,
        reason=Finding.DELETED,
        subject=_model(evidence),
        message=f"the model is being deleted; finalizers that it waits for: {keepers}",
        way_out="wait; KubeEmbed sets no finalizers, so ask whoever set one",
        since=evidence.model["metadata"]["deletionTimestamp"],
    )


def _neglected(alone: Neglect, told: Mapping[str, Any]) -> Verdict:
    """What the conditions say is of the time when somebody still looked."""
    note = "the model has no status yet"
    if told:
        note = f"status is of then: Ready={told['status']}, {told['reason']}: {told['message']}"
    return Verdict(
        ready=False,
        reason=alone.reason,
        subject=alone.subject,
        message=alone.message,
        way_out=alone.way_out,
        notes=(note,),
        log=alone.log,
    )


def _unseen(evidence: Evidence) -> Verdict:
    """An operator leads, or may not be looked for, and has not come to this model."""
    metadata, operator = evidence.model["metadata"], acting(evidence)
    seen = (evidence.model.get("status") or {}).get("observedGeneration")
    what = "has no status" if seen is None else f"has a status of generation {seen}"
    log = None
    if operator is not None and operator.pods:
        text = f"{metadata['namespace']}/{metadata['name']}"
        log = LogOf(operator.namespace, operator.leader, CONTAINER, holding=text)
    return Verdict(
        ready=False,
        reason=Finding.STATUS_OUTDATED,
        subject=_model(evidence),
        message=f"the model is of generation {metadata.get('generation')} and {what}",
        way_out="wait some seconds; if it stays, the operator is overloaded or fails at it: look at its log",
        log=log,
    )


def _of_condition(evidence: Evidence, told: Mapping[str, Any]) -> Verdict:
    """What Ready repeats of a part, with the object that the part is about."""
    if told["reason"] == Reason.FETCHING and (failed := _tried_again(evidence, told)):
        return failed
    reason = told["reason"]
    parts = (p for p in PARTS if condition(evidence.model, p).get("reason") == reason)
    one, kind = _culprit(evidence, reason, next(parts, "Available"))
    subject = subject_of(one, kind)
    return Verdict(
        ready=False,
        reason=reason,
        subject=subject,
        message=told["message"],
        way_out=way_out(reason, evidence.model["metadata"]["name"]),
        since=told.get("lastTransitionTime"),
        words=tuple(_words(evidence, one, kind, told["message"])),
        notes=tuple(_notes(evidence.model)),
        log=_log(one, subject) if kind == "Pod" and reason in LOGGED else None,
    )


def _tried_again(evidence: Evidence, told: Mapping[str, Any]) -> Verdict | None:
    """A fetch that failed is Fetching again while it is tried: what the attempt before said matters."""
    for pod in evidence.pods_of(WEIGHTS):
        report = next((report for report, _ in last_words(pod)), None)
        if report is not None and report.reason is not Reason.FETCHED:
            return Verdict(
                ready=False,
                reason=report.reason,
                subject=subject_of(pod, "Pod"),
                message=report.message,
                way_out=way_out(report.reason, evidence.model["metadata"]["name"]),
                since=told.get("lastTransitionTime"),
                notes=("it is being tried again right now",),
            )
    return None


def _culprit(evidence: Evidence, reason: str, part: str) -> tuple[Manifest, str]:
    """The object that a reason is about, and its kind."""
    if reason in OF_THE_DOCUMENT or reason in DECIDED:
        return evidence.model, "EmbeddingModel"
    pods = evidence.pods_of(*PARTS[part])
    if reason == Reason.CLAIM_PENDING:
        for claim in evidence.claims:
            if (claim.get("status") or {}).get("phase") != "Bound":
                return claim, "PersistentVolumeClaim"
    if reason != Reason.PODS_FORBIDDEN:
        suffering = [pod for pod in pods if (found := trouble(pod)) and found.reason == reason]
        for pod in (*suffering, *filter(_unfinished, pods)):
            return pod, "Pod"
    return _owner_of_none(evidence, part)


def _unfinished(pod: Manifest) -> bool:
    """Neither ready nor, as a fetch, done."""
    return not ready(pod) and (pod.get("status") or {}).get("phase") != "Succeeded"


def _owner_of_none(evidence: Evidence, part: str) -> tuple[Manifest, str]:
    """Where no pod is to blame, who should have made one."""
    running = [j for j in evidence.jobs if condition(j, "Complete").get("status") != "True"]
    if part != "Available" and running:
        return running[0], "Job"
    if part == "Available" and evidence.deployment is not None:
        return evidence.deployment, "Deployment"
    return evidence.model, "EmbeddingModel"


def _words(evidence: Evidence, one: Manifest, kind: str, message: str) -> Iterator[Words]:
    """What the object itself adds to the condition."""
    if kind == "Pod" and (state := _state(one)):
        yield Words(f"Pod {one['metadata']['name']}", (state,))
    warning = evidence.warning(one)
    if warning is not None and warning["reason"] != BACK_OFF:
        text = " ".join(str(warning.get("message") or "").split())
        if text and text not in message:
            yield Words(f"Event {warning['reason']}", (text,))


def _state(pod: Manifest) -> str:
    """Of a pod without a node, or whose first container that is not ready waits or runs: what it does."""
    status = pod.get("status") or {}
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        state, name = container.get("state") or {}, container["name"]
        restarts = container.get("restartCount")
        again = f"; restarts: {restarts}" if restarts else ""
        if "waiting" in state:
            return f"container {name} waits: {state['waiting'].get('reason')}{again}"
        if "running" in state and not container.get("ready"):
            since = state["running"].get("startedAt")
            return f"container {name} runs since {since} and is not ready{again}"
    return ""


def _notes(model: Manifest) -> Iterator[str]:
    """Progress of a fetch, and each adapter that is amiss."""
    status = model.get("status") or {}
    progress = (status.get("weights") or {}).get("progress")
    if progress and condition(model, "WeightsReady").get("reason") == Reason.FETCHING:
        yield f"weights: {progress} are here"
    for adapter in status.get("adapters") or ():
        if adapter.get("reason") not in (None, Reason.LOADED):
            yield f"adapter {adapter['name']}: {adapter['reason']}: {adapter.get('message', '')}"


def _log(pod: Manifest, subject: Subject) -> LogOf | None:
    """Of the container that ended, or else runs without being ready."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    for container in statuses:
        state = container.get("state") or {}
        again = "terminated" in (container.get("lastState") or {})
        if "running" in state or "terminated" in state or again:
            previous = again and ("waiting" in state or "running" in state)
            return LogOf(subject.namespace, subject.name, container["name"], previous)
    return None


def _outdated(model: Manifest) -> bool:
    seen = (model.get("status") or {}).get("observedGeneration")
    return bool(seen != model["metadata"].get("generation"))


def _serves(deployment: Manifest | None) -> bool:
    return bool(((deployment or {}).get("status") or {}).get("readyReplicas"))


def _model(evidence: Evidence) -> Subject:
    return subject_of(evidence.model, "EmbeddingModel")
