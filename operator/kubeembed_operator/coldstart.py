"""What a start from zero replicas took: the pod that ended a sleep -> status.lastColdStart, by stage. Pure.

Kubernetes tells whole seconds, the runtime fractions of its own. What nobody tells is left out.
"""

from datetime import datetime
from typing import Any

from kubeembed_api.podreasons import pod_condition, ready
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed
from kubeembed_operator.sleep import Step

#: Digits of a second that are worth a place in the status.
DIGITS = 2


def awoken(observed: Observed, step: Step) -> Manifest | None:
    """The pod that ends a sleep with this step. Where one is older than the slice, somebody asked on the way
    down, and none was started."""
    if not step.woken or step.drop is None:
        return None
    since = _time(step.drop["metadata"].get("creationTimestamp"))
    pods = [pod for pod in observed.serving_pods if ready(pod)]
    if since is None or any((_made(pod) or since) < since for pod in pods):
        return None
    return min(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)


def cold_start(pod: Manifest, info: RuntimeInfo | None) -> dict[str, Any]:
    """info: what its runtime says, if it has been asked."""
    scheduled = _time(pod_condition(pod, "PodScheduled").get("lastTransitionTime"))
    startup = info.startup if info is not None else None
    told = {
        "totalSeconds": _seconds(
            _made(pod), _time(pod_condition(pod, "Ready").get("lastTransitionTime"))
        ),
        "scheduleSeconds": _seconds(_made(pod), scheduled),
        "pullSeconds": _seconds(scheduled, _started(pod)),
    }
    stages = {} if startup is None else startup.model_dump(by_alias=True)
    found = {**told, **{name: round(value, DIGITS) for name, value in stages.items()}}
    return {name: value for name, value in found.items() if value is not None}


def _made(pod: Manifest) -> datetime | None:
    return _time(pod["metadata"].get("creationTimestamp"))


def _started(pod: Manifest) -> datetime | None:
    """When its container runs since."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        running = (container.get("state") or {}).get("running") or {}
        return _time(running.get("startedAt"))
    return None


def _seconds(begin: datetime | None, end: datetime | None) -> float | None:
    return None if begin is None or end is None else (end - begin).total_seconds()


def _time(told: str | None) -> datetime | None:
    return datetime.fromisoformat(told) if told else None
