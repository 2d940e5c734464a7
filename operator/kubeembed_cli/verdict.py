"""The answer of `kubeembed why`, as values: a reason, the object it is about, its own words, the way out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from kubeembed_api.podreasons import Manifest


class Finding(StrEnum):
    """Reasons that no condition has, for they are about the operator, who writes the conditions."""

    DELETED = "Deleted"
    NOT_WATCHED = "NotWatched"
    OPERATOR_NOT_RUNNING = "OperatorNotRunning"
    STATUS_OUTDATED = "StatusOutdated"


@dataclass(frozen=True, slots=True)
class Subject:
    """An object of the cluster."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Words:
    """What an object says of itself, line by line, and where it says so."""

    source: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogOf:
    """Whose log belongs to a verdict: of the container that runs, or of the one before it."""

    namespace: str
    pod: str
    container: str
    previous: bool = False
    holding: str = ""  # only lines with this text

    def __str__(self) -> str:
        which = "the last run of " if self.previous else ""
        return f"Log of {which}container {self.container} in Pod {self.pod}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """notes: what else there is to know. log: whose last lines are still to be read."""

    ready: bool
    reason: str
    subject: Subject
    message: str
    way_out: str = ""
    since: str | None = None
    words: tuple[Words, ...] = ()
    notes: tuple[str, ...] = ()
    log: LogOf | None = None
    looked_at: tuple[str, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """For scripts. The names stay."""
        return {
            "ready": self.ready,
            "reason": self.reason,
            "object": asdict(self.subject),
            "message": self.message,
            "wayOut": self.way_out,
            "since": self.since,
            "words": [asdict(one) for one in self.words],
            "notes": self.notes,
            "lookedAt": self.looked_at,
        }


def subject_of(one: Manifest, kind: str) -> Subject:
    """A list's items do not say their kind, so it is told."""
    return Subject(kind, one["metadata"]["namespace"], one["metadata"]["name"])


def condition(one: Manifest | None, name: str) -> dict[str, Any]:
    """Empty where there is none of that type."""
    conditions = ((one or {}).get("status") or {}).get("conditions") or ()
    return next((dict(c) for c in conditions if c["type"] == name), {})
