"""A change of the pods that does not go on: it waits for a person, or for room that the old pods hold. Pure.

A surge needs the hardware of one pod more than the model has. Where there is no such room, because the
model's own old pods hold it, Kubernetes waits for ever. That is told at once; the old pods give way only
where the document allows it, or where none of them serves, so that nothing is lost.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import pod_condition, ready
from kubeembed_api.rollout import seconds
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.placement import REPLACE
from kubeembed_operator.observed import Observed
from kubeembed_operator.quantities import parse_quantity

#: In the scheduler's message, what a node lacks; the second is of dynamic resource allocation.
_LACKS = re.compile(r"Insufficient ([^\s,]*[^\s,.])")
_NO_CLAIM = "cannot allocate all claims"
DEVICES = "devices"

Amounts = Mapping[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A new pod has no room since `since`, for want of `resources`, which the model's old pods hold."""

    resources: tuple[str, ...]
    since: datetime
    #: Since when no old pod serves; None: one does.
    idle_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """`held`: paused, and the document asks for other pods. `replaces`: old pods give their place to new
    ones. `look_in`: seconds until they will."""

    paused: bool = False
    held: bool = False
    blocked: Blocked | None = None
    replaces: bool = False
    look_in: float | None = None


GOES_ON = Rollout()


def rollout_of(model: EmbeddingModel, observed: Observed, now: datetime) -> Rollout:
    told, deployment = model.spec.rollout, observed.deployment
    if deployment is None or told.strategy == "Recreate":
        return Rollout(paused=told.paused)
    found = blocked(observed)
    since = _gives_way_since(model, found)
    waits = None if since is None else seconds(told.fallback_after) - (now - since).total_seconds()
    due = waits is not None and waits <= 0
    return Rollout(
        paused=told.paused,
        blocked=found,
        replaces=due or (_replaces(deployment) and not complete(deployment)),
        look_in=max(waits, 0.0) + 0.1 if waits is not None and not due else None,
    )


def blocked(observed: Observed) -> Blocked | None:
    """Only where the old pods of one node hold at least as much as the new one lacks: else their going would
    help nobody."""
    pods = observed.serving_pods
    for pod in pods:
        told = pod_condition(pod, "PodScheduled")
        if told.get("status") != "False" or told.get("reason") != "Unschedulable":
            continue
        lacks = _lacks(told.get("message") or "")
        old = [each for each in pods if _template(each) != _template(pod) and _node(each)]
        if lacks and any(_holds(group, pod, lacks) for group in _by_node(old)):
            since = _time(told.get("lastTransitionTime"), pod)
            return Blocked(resources=lacks, since=since, idle_since=_idle_since(old))
    return None


def complete(deployment: Manifest) -> bool:
    """Whether every pod that is asked for is of the newest template and answers, and no other is left."""
    status, metadata = deployment.get("status") or {}, deployment["metadata"]
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    counts = [status.get(f) or 0 for f in ("replicas", "updatedReplicas", "availableReplicas")]
    seen = int(status.get("observedGeneration") or 0) >= int(metadata.get("generation") or 0)
    return seen and counts == [wanted] * 3


def _gives_way_since(model: EmbeddingModel, found: Blocked | None) -> datetime | None:
    """From when the patience of the document counts; None: the old pods stay."""
    if found is None:
        return None
    if model.spec.rollout.fallback == "Replace":
        return found.since
    return max(found.since, found.idle_since) if found.idle_since else None


def _replaces(deployment: Manifest) -> bool:
    strategy = (deployment.get("spec") or {}).get("strategy") or {}
    return bool(strategy.get("rollingUpdate") == REPLACE["rollingUpdate"])


def _lacks(message: str) -> tuple[str, ...]:
    claims = [DEVICES] if _NO_CLAIM in message else []
    return tuple(sorted({*_LACKS.findall(message), *claims}))


def _holds(group: list[Manifest], pod: Manifest, lacks: Iterable[str]) -> bool:
    """Whether these pods of one node, which the new pod may go to, hold what it lacks."""
    wanted = _selector(pod).items()
    if not all(wanted <= _selector(each).items() for each in group):
        return False
    asked, held = _amounts(pod), [_amounts(each) for each in group]
    sums = {name: sum((each.get(name, Decimal()) for each in held), Decimal()) for name in lacks}
    return all(sums[name] >= asked.get(name, Decimal()) > 0 for name in lacks)


def _amounts(pod: Manifest) -> Amounts:
    """What a pod's containers ask for. A limit alone is the request too, as the API server has it."""
    found: dict[str, Decimal] = {}
    for container in (pod.get("spec") or {}).get("containers") or ():
        told = container.get("resources") or {}
        for name, quantity in {
            **(told.get("limits") or {}),
            **(told.get("requests") or {}),
        }.items():
            found[name] = found.get(name, Decimal()) + parse_quantity(str(quantity))
        if told.get("claims"):
            found[DEVICES] = found.get(DEVICES, Decimal()) + len(told["claims"])
    return found


def _idle_since(old: list[Manifest]) -> datetime | None:
    if any(map(ready, old)):
        return None
    return max(_time(pod_condition(pod, "Ready").get("lastTransitionTime"), pod) for pod in old)


def _by_node(pods: list[Manifest]) -> Iterable[list[Manifest]]:
    found: dict[str, list[Manifest]] = {}
    for pod in pods:
        found.setdefault(_node(pod), []).append(pod)
    return found.values()


def _node(pod: Manifest) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _selector(pod: Manifest) -> dict[str, str]:
    return (pod.get("spec") or {}).get("nodeSelector") or {}


def _template(pod: Manifest) -> str | None:
    return (pod["metadata"].get("labels") or {}).get("pod-template-hash")


def _time(told: str | None, pod: Manifest) -> datetime:
    made = pod["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z"
    return datetime.fromisoformat(told or made)
