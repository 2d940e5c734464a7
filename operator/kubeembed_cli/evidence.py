"""What a cluster shows of one model: the object, its children, their warnings, and who looks after it."""

from dataclasses import dataclass
from datetime import datetime

from kubeembed_api.names import COMPONENT
from kubeembed_api.podreasons import Manifest
from kubeembed_cli.installation import Installation


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """now: by the API server's clock. installations: None where they may not be looked at."""

    model: Manifest
    now: datetime
    deployment: Manifest | None = None
    jobs: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    claims: tuple[Manifest, ...] = ()
    warnings: tuple[Manifest, ...] = ()
    installations: tuple[Installation, ...] | None = ()

    def pods_of(self, *components: str) -> tuple[Manifest, ...]:
        """The youngest first; without those that are going."""
        found = [
            pod
            for pod in self.pods
            if pod["metadata"]["labels"].get(COMPONENT) in components
            and "deletionTimestamp" not in pod["metadata"]
        ]
        return tuple(sorted(found, key=_created, reverse=True))

    def warning(self, one: Manifest) -> Manifest | None:
        """The newest warning about an object."""
        uid = one["metadata"]["uid"]
        found = [event for event in self.warnings if event["involvedObject"].get("uid") == uid]
        return max(found, key=_seen, default=None)


def _created(one: Manifest) -> str:
    return str(one["metadata"].get("creationTimestamp") or "")


def _seen(event: Manifest) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or "")
