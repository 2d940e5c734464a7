"""What is known of a model's adapters: fetched or how far, accepted by pods or refused. Pure.

An adapter that changes is a candidate beside the copy that serves. It takes that one's place once a pod has
loaded it; one that the pods refuse changes nothing, and is not tried again until it or their base changes, or
is tried again now and then where its golden vectors may.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import adapter_job_name
from kubeembed_api.podreasons import ready
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Report
from kubeembed_api.spec import Adapter
from kubeembed_operator.fetches import Fetch, fetch_of
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.adapters import adapter_request
from kubeembed_operator.observed import Observed

#: What pods refuse by their golden vectors, which may be written anew: they are asked again now and then.
PASSING = (Reason.GOLDEN_MISMATCH, Reason.GOLDEN_UNREADABLE)

#: In the place of a Job's uid.
NO_JOB = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterCopy:
    """A complete copy in the cache, and the request that it answers."""

    request: str
    key: str
    revision: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the pods refused (a request, on which base), and why. copy: of what may pass at another time."""

    mark: str
    message: str
    reason: Reason = Reason.ADAPTER_REFUSED
    copy: AdapterCopy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterState:
    """`copy` is what was accepted last: of `request`, or of an earlier one until `candidate` is loaded.

    lost: a pod did not find the copy, so that it is fetched again; by another Job than the one of this uid.
    """

    adapter: Adapter
    request: str
    copy: AdapterCopy | None = None
    candidate: AdapterCopy | None = None
    fetch: Fetch | None = None
    refusal: Refusal | None = None
    lost: str | None = None

    @property
    def name(self) -> str:
        return self.adapter.name

    @property
    def settled(self) -> bool:
        """Whether what serves is what the document asks for, and there to stay."""
        return self.lost is None and self.copy is not None and self.copy.request == self.request

    @property
    def to_fetch(self) -> bool:
        return not self.settled and self.candidate is None and self.refusal is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What pods made of a folder: `error` is theirs, None where one has it. missing: one did not find it."""

    error: str | None = None
    reason: Reason = Reason.ADAPTER_REFUSED
    missing: bool = False


def adapters_of(
    model: EmbeddingModel, raw: Manifest, observed: Observed, base: str | None
) -> tuple[AdapterState, ...]:
    """In the order of the document. base: the list of pods that its adapters are for, where it is known."""
    told = (raw.get("status") or {}).get("adapters") or ()
    known = {entry["name"]: entry for entry in told}
    return tuple(
        _state(model, adapter, known.get(adapter.name) or {}, observed, base)
        for adapter in model.spec.adapters
    )


def concluded(
    model: EmbeddingModel,
    states: Iterable[AdapterState],
    verdicts: Mapping[str, Verdict],
    observed: Observed,
    base: str | None,
    pods: Sequence[Manifest],
) -> tuple[AdapterState, ...]:
    """The states after the pods of that base were told: those that are ready. Where there is none nobody can
    refuse, so a candidate is taken; while the base is not known, only where nothing is replaced by it."""
    return tuple(
        _lost(model, state, observed)
        if state.settled and verdicts.get(state.name, Verdict()).missing
        else _concluded(
            state,
            verdicts.get(state.name),
            base,
            asked=bool(pods) if base else state.copy is not None,
        )
        for state in states
    )


def ready_pods(observed: Observed) -> tuple[Manifest, ...]:
    """Of those that the model's Service points at."""
    return tuple(pod for pod in observed.front.pods if ready(pod))


def _state(
    model: EmbeddingModel,
    adapter: Adapter,
    known: dict[str, Any],
    observed: Observed,
    base: str | None,
) -> AdapterState:
    request = adapter_request(model, adapter)
    state = AdapterState(
        adapter=adapter, request=request, copy=_known_copy(known), lost=known.get("lost")
    )
    if state.settled:
        return state
    refusal = _known_refusal(known, request)
    if _holds(refusal.mark, request, base):
        return replace(state, refusal=refusal, candidate=refusal.copy)
    job = observed.adapter_job(adapter_job_name(model.name, request))
    if job is None:
        return state
    if job["metadata"]["uid"] == state.lost:
        return replace(state, fetch=Fetch(job=job, spent=True))
    fetch = fetch_of(job, observed.pods_of(job))
    candidate = None if fetch.report is None else _fetched(request, fetch.report)
    return replace(state, fetch=fetch, candidate=candidate)


def _known_copy(known: dict[str, Any]) -> AdapterCopy | None:
    if not known.get("key"):
        return None
    return AdapterCopy(
        request=known.get("request") or "",
        key=known["key"],
        revision=known.get("revision"),
        fingerprint=known.get("fingerprint"),
    )


def _known_refusal(known: dict[str, Any], request: str) -> Refusal:
    mark, message = known.get("refused") or "", known.get("message") or ""
    key, revision = known.get("refusedKey"), known.get("refusedRevision")
    if not key:
        return Refusal(mark=mark, message=message)
    copy = AdapterCopy(request=request, key=key, revision=revision)
    told = known.get("reason")
    reason = Reason(told) if told in PASSING else Reason.GOLDEN_MISMATCH
    return Refusal(mark=mark, message=message, reason=reason, copy=copy)


def _fetched(request: str, report: Report) -> AdapterCopy:
    return AdapterCopy(request=request, key=report.key or "", revision=report.revision)


def _concluded(
    state: AdapterState, verdict: Verdict | None, base: str | None, *, asked: bool
) -> AdapterState:
    if state.candidate is None:
        return state
    if verdict == Verdict() or not (asked or state.refusal):
        return replace(state, copy=state.candidate, candidate=None, refusal=None, lost=None)
    if verdict is not None and verdict.missing and state.refusal is not None:
        return replace(state, candidate=None, refusal=None)
    if verdict is None or verdict.missing:
        return state
    passing = verdict.reason in PASSING
    refusal = Refusal(
        mark=f"{state.request}-{base}",
        message=verdict.error or "",
        reason=verdict.reason,
        copy=state.candidate if passing else None,
    )
    return replace(state, candidate=refusal.copy, refusal=refusal)


def _lost(model: EmbeddingModel, state: AdapterState, observed: Observed) -> AdapterState:
    """The Job that may still be there from the first time has nothing new to say."""
    job = observed.adapter_job(adapter_job_name(model.name, state.request))
    return replace(state, lost=job["metadata"]["uid"] if job else NO_JOB)


def _holds(mark: str, request: str, base: str | None) -> bool:
    """Whether a refusal is still the last word: another base may take it."""
    return mark == f"{request}-{base}" if base else mark.startswith(f"{request}-")
