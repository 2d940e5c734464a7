"""One condition, and what of a Deployment and its pods several of them are made of. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kubeembed_api.podreasons import Trouble, shortened, trouble
from kubeembed_api.reasons import Reason
from kubeembed_operator.kinds import Manifest

Truth = Literal["True", "False"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it is now; when it became so is for `status` to say."""

    type: str
    status: Truth
    reason: Reason
    message: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it another one than before, worth an Event."""
        return self.type, self.status, self.reason


def pod_trouble(pods: Sequence[Manifest], deployment: Manifest | None) -> Trouble | None:
    """What the youngest pod suffers from, or why there are no pods."""
    youngest = sorted(pods, key=_created, reverse=True)
    found = next((t for t in map(trouble, youngest) if t is not None), None)
    return found or (_refused(deployment) if deployment else None)


def unseen(deployment: Manifest) -> bool:
    """Whether the Deployment's status speaks of an older spec, so that it says nothing about this one."""
    seen = (deployment.get("status") or {}).get("observedGeneration") or 0
    return int(seen) < int(deployment["metadata"].get("generation") or 0)


def ready_replicas(deployment: Manifest) -> int:
    return int((deployment.get("status") or {}).get("readyReplicas") or 0)


def _refused(deployment: Manifest) -> Trouble | None:
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = condition.get("message") or "the API server refuses the pods"
            return Trouble(Reason.PODS_FORBIDDEN, shortened(message))
    return None


def _created(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z")
