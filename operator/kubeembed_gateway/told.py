"""The status of an EmbeddingModel -> what persons are told of it: what is amiss, adapters, its last start.

Values alone, as the operator wrote them; nothing of a model's requests depends on them.
"""

from dataclasses import dataclass
from typing import Any

from kubeembed_api.reasons import Reason

#: Where the operator has not written anything yet.
UNSEEN = "the operator has not looked at this model yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One of the document. ready: pods that serve it, as in 2/3. reason, message: of the status."""

    name: str
    ready: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """ready, reason, message: of the condition Ready. desired: pods that there should be. start: seconds of
    the last start from zero, whole and by stage, by the names of the status."""

    ready: bool = False
    reason: str = str(Reason.PENDING)
    message: str = UNSEEN
    desired: int | None = None
    adapters: tuple[Adapter, ...] = ()
    start: tuple[tuple[str, float], ...] = ()


UNTOLD = Told()


def read_told(manifest: dict[str, Any]) -> Told:
    """An EmbeddingModel as the API server has it."""
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready") or {}
    entries = {each["name"]: each for each in status.get("adapters") or ()}
    return Told(
        ready=ready.get("status") == "True",
        reason=ready.get("reason") or str(Reason.PENDING),
        message=ready.get("message", "") if ready else UNSEEN,
        desired=(status.get("replicas") or {}).get("desired"),
        adapters=tuple(
            _adapter(each["name"], entries.get(each["name"]) or {})
            for each in spec.get("adapters") or ()
        ),
        start=tuple((status.get("lastColdStart") or {}).items()),
    )


def _adapter(name: str, entry: dict[str, Any]) -> Adapter:
    return Adapter(
        name=name,
        ready=entry.get("ready") or "",
        reason=entry.get("reason") or str(Reason.PENDING),
        message=entry.get("message") or "",
    )
