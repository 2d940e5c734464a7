"""Conditions and what was learnt -> the status of a model, as it is written. Pure.

What has not changed is taken from the status before, byte by byte, so that "is it equal?" decides the write.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import endpoint
from kubeembed_api.report import Progress, RuntimeInfo
from kubeembed_operator.adapterstatus import AdapterStatus, summary
from kubeembed_operator.condition import Condition, ready_replicas
from kubeembed_operator.conditions import desired
from kubeembed_operator.manifests.metadata import selector
from kubeembed_operator.observed import Observed
from kubeembed_operator.supported import Problem
from kubeembed_operator.vectorspaces import agreed
from kubeembed_operator.weights import Weights

Status = dict[str, Any]

#: Progress is written when it has moved so many per cent, and not more often than each so many seconds.
PROGRESS_STEP = 10
PROGRESS_SECONDS = 10.0


def status(
    model: EmbeddingModel,
    before: Status,
    found: Iterable[Condition],
    *,
    weights: Weights,
    observed: Observed,
    progress: str | None,
    infos: Sequence[RuntimeInfo],
    now: datetime,
    adapters: Sequence[AdapterStatus] = (),
    coming: Status | None = None,
    cold_start: Status | None = None,
) -> Status:
    """The whole status of a model whose document is right. infos: of the pods that answer for it; coming:
    what is told of those that wait to be promoted."""
    generation = model.metadata.generation
    replicas = _replicas(model, observed)
    return _without_empty(
        {
            "adapterSummary": summary(adapters),
            "adapters": [each.entry(replicas["desired"]) for each in adapters],
            "conditions": merged(before.get("conditions") or [], found, generation, now),
            "endpoint": endpoint(model.name, model.namespace),
            "lastColdStart": cold_start or before.get("lastColdStart"),
            "model": _model(before, infos),
            "next": _without_empty(coming or {}),
            "observedGeneration": generation,
            "replicas": replicas,
            "selector": ",".join(f"{k}={v}" for k, v in sorted(selector(model).items())),
            "weights": _weights(before, weights, progress),
        }
    )


def status_of_problem(before: Status, problem: Problem, generation: int, now: datetime) -> Status:
    """Ready says what is wrong with the document; all else is left as it was, for it still runs so."""
    ready = Condition("Ready", "False", problem.reason, problem.message)
    conditions = before.get("conditions") or []
    others = [c for c in conditions if c["type"] != "Ready"]
    ours = merged(conditions, [ready], generation, now)
    return {**before, "conditions": [*ours, *others], "observedGeneration": generation}


def merged(
    before: list[Status], found: Iterable[Condition], generation: int, now: datetime
) -> list[Status]:
    """lastTransitionTime moves only when the status of a condition does, as Kubernetes has it."""
    known = {condition["type"]: condition for condition in before}
    return [_condition(known.get(each.type), each, generation, now) for each in found]


def coarse(before: str | None, progress: Progress, since_written: float) -> str | None:
    """'40%' if that is worth a write by now, else what was written before."""
    percent = 100 * progress.bytes // max(progress.total, 1)
    percent = min(percent - percent % PROGRESS_STEP, 99)
    if since_written < PROGRESS_SECONDS:
        return before
    return f"{percent}%"


def _condition(known: Status | None, each: Condition, generation: int, now: datetime) -> Status:
    same = known is not None and known["status"] == each.status
    since = known["lastTransitionTime"] if same and known else _time(now)
    return {
        "lastTransitionTime": since,
        "message": each.message,
        "observedGeneration": generation,
        "reason": str(each.reason),
        "status": each.status,
        "type": each.type,
    }


def _model(before: Status, infos: Sequence[RuntimeInfo]) -> Status:
    """As every pod serves it. While they differ it stays what it was."""
    known: Status = {**(before.get("model") or {})}
    if len({each.revision for each in infos}) == 1:
        known["revision"] = infos[0].revision
    info = agreed(infos)
    if info is not None:
        known["dimensions"] = info.dimensions
        known["maxTokens"] = info.max_tokens
        known["fingerprint"] = info.fingerprint
    return _without_empty(known)


def _weights(before: Status, weights: Weights, progress: str | None) -> Status:
    """While another copy is fetched, the one that is served stays named."""
    if weights.copy is None:
        return _without_empty({**(before.get("weights") or {}), "progress": progress})
    copy = weights.copy
    known = {
        "bytes": copy.bytes,
        "key": copy.key,
        "progress": copy.progress,
        "request": copy.request,
        "revision": copy.revision,
    }
    return _without_empty(known)


def _replicas(model: EmbeddingModel, observed: Observed) -> Status:
    wanted, front = desired(model, observed), observed.front.deployment
    there = observed.deployment is not None and front is not None
    ready = ready_replicas(front) if there and front is not None else 0
    return {"desired": wanted, "ready": ready, "summary": f"{ready}/{wanted}"}


def _without_empty(values: Status) -> Status:
    return {name: value for name, value in values.items() if value not in (None, {}, [], "")}


def _time(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
