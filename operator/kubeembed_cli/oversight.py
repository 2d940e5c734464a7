"""Installations -> whether an operator looks after a model, and if not, why: pure.

Nothing of a model moves without one, so this comes before whatever its conditions last said.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubeembed_api.names import LEASE
from kubeembed_api.podreasons import trouble
from kubeembed_api.remedies import EXPLANATIONS
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.installation import Installation
from kubeembed_cli.times import ago
from kubeembed_cli.verdict import Finding, LogOf, Subject

CONTAINER = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neglect:
    """Why nobody looks after the model."""

    reason: Finding
    subject: Subject
    message: str
    way_out: str
    log: LogOf | None = None


def neglect(evidence: Evidence) -> Neglect | None:
    """None where an operator acts for the model's namespace, or may not be looked for."""
    if evidence.installations is None:
        return None
    namespace = evidence.model["metadata"]["namespace"]
    covering = [one for one in evidence.installations if one.covers(namespace)]
    if any(one.runs(evidence.now) for one in covering):
        return None
    if covering:
        return _silent(covering[0], evidence.now)
    return _none(evidence, namespace)


def acting(evidence: Evidence) -> Installation | None:
    """The operator that looks after the model, if it is known."""
    namespace = evidence.model["metadata"]["namespace"]
    runs = (one for one in evidence.installations or () if one.runs(evidence.now))
    return next((one for one in runs if one.covers(namespace)), None)


def _none(evidence: Evidence, namespace: str) -> Neglect:
    watched = sorted(one.watches for one in evidence.installations or ())
    if watched:
        message = f"no operator looks after namespace {namespace}; those here watch only {', '.join(watched)}"
        way_out = (
            "install the chart for this namespace as well (`watchNamespace`), or for all (empty)"
        )
        reason = Finding.NOT_WATCHED
    else:
        message = "the cluster has the EmbeddingModel resource and no operator"
        way_out = "`helm upgrade --install kubeembed charts/kubeembed -n kubeembed-system --create-namespace`"
        reason = Finding.OPERATOR_NOT_RUNNING
    model = evidence.model["metadata"]
    subject = Subject("EmbeddingModel", namespace, model["name"])
    return Neglect(reason=reason, subject=subject, message=message, way_out=way_out)


def _silent(found: Installation, now: datetime) -> Neglect:
    """Scaled to nothing, pods in trouble, or pods that run and do not lead."""
    silent = found.silent_seconds(now)
    since = "never" if silent is None else ago(silent)
    lease = f"Lease {LEASE} in {found.namespace} was last renewed {since}"
    if found.deployment is None:
        subject = Subject("Lease", found.namespace, LEASE)
        return _neglect(subject, f"{lease}, and there is no Deployment", "start the operator")
    name = found.deployment["metadata"]["name"]
    subject = Subject("Deployment", found.namespace, name)
    if not (found.deployment.get("spec") or {}).get("replicas", 1):
        way_out = f"`kubectl -n {found.namespace} scale deployment/{name} --replicas=2`"
        return _neglect(subject, f"the operator is scaled to no replicas; {lease}", way_out)
    return _of_pods(found, subject, lease)


def _of_pods(found: Installation, deployment: Subject, lease: str) -> Neglect:
    look = f"`kubectl -n {found.namespace} describe deployment/{deployment.name}` and its pods"
    if not found.pods:
        return _neglect(deployment, f"the operator has no pods; {lease}", look)
    for pod in found.pods:
        name = pod["metadata"]["name"]
        subject = Subject("Pod", found.namespace, name)
        suffers = trouble(pod)
        if suffers is not None:
            way_out = f"{EXPLANATIONS[suffers.reason].way_out} ({suffers.reason})"
            return _neglect(
                subject, f"{suffers.message}; {lease}", way_out, _log(pod, found.namespace)
            )
    pod = found.pods[0]
    subject = Subject("Pod", found.namespace, pod["metadata"]["name"])
    return _neglect(
        subject,
        f"no operator acts; {lease}",
        f"the log below, or {look}",
        _log(pod, found.namespace),
    )


def _log(pod: dict[str, Any], namespace: str) -> LogOf:
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    waits = "waiting" in (statuses[0].get("state") or {}) and bool(statuses[0].get("lastState"))
    return LogOf(namespace, pod["metadata"]["name"], CONTAINER, previous=waits)


def _neglect(subject: Subject, message: str, way_out: str, log: LogOf | None = None) -> Neglect:
    reason = Finding.OPERATOR_NOT_RUNNING
    return Neglect(reason=reason, subject=subject, message=message, way_out=way_out, log=log)
