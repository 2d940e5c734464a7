"""What is known of a model's adapters: fetched or how far, accepted by pods or refused. Pure.

An adapter that changes is a candidate beside the copy that serves. It takes that one's place once a pod has
loaded it; one that the pods refuse changes nothing, and is not tried again until it or their model changes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kubeembed_api.document import Adapter, EmbeddingModel
from kubeembed_api.names import DOCUMENT_ANNOTATION, adapter_job_name
from kubeembed_api.placed import PlacedAdapter
from kubeembed_api.podreasons import ready
from kubeembed_api.report import Report
from kubeembed_operator.fetches import Fetch, fetch_of
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.adapters import adapter_folder, adapter_request
from kubeembed_operator.manifests.metadata import digest
from kubeembed_operator.observed import Observed

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
    """What the pods refused (a request, by pods of which models), and why."""

    mark: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterState:
    """`copy` is what pods have to serve: of `request`, or of an earlier one until `candidate` is loaded.

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
    missing: bool = False


def adapters_of(
    model: EmbeddingModel, raw: Manifest, observed: Observed
) -> tuple[AdapterState, ...]:
    """In the order of the document."""
    told = (raw.get("status") or {}).get("adapters") or ()
    known = {entry["name"]: entry for entry in told}
    return tuple(
        _state(model, adapter, known.get(adapter.name) or {}, observed)
        for adapter in model.spec.adapters
    )


def concluded(
    model: EmbeddingModel,
    states: Iterable[AdapterState],
    verdicts: Mapping[str, Verdict],
    observed: Observed,
) -> tuple[AdapterState, ...]:
    """The states after the pods were told. Without a ready pod nobody can refuse, so a candidate is taken."""
    pods = ready_pods(observed)
    return tuple(
        _lost(model, state, observed)
        if state.settled and verdicts.get(state.name, Verdict()).missing
        else _concluded(state, verdicts.get(state.name), pods)
        for state in states
    )


def placed(model: EmbeddingModel, states: Iterable[AdapterState]) -> list[PlacedAdapter]:
    """What a starting pod serves: what is accepted, or was when no pod was there to refuse it."""
    return [
        PlacedAdapter(name=state.name, path=adapter_folder(model, state.copy.key))
        for state in states
        if state.copy is not None
    ]


def offered(model: EmbeddingModel, states: Iterable[AdapterState]) -> dict[str, str]:
    """What running pods are told to serve: {name: folder}, candidates in the place of what they replace."""
    copies = {state.name: state.candidate or state.copy for state in states}
    return {
        name: adapter_folder(model, copy.key) for name, copy in copies.items() if copy is not None
    }


def ready_pods(observed: Observed) -> tuple[Manifest, ...]:
    """Of those that the model's Service points at."""
    return tuple(pod for pod in observed.front.pods if ready(pod))


def _state(
    model: EmbeddingModel, adapter: Adapter, known: dict[str, Any], observed: Observed
) -> AdapterState:
    request = adapter_request(model, adapter)
    state = AdapterState(
        adapter=adapter, request=request, copy=_known_copy(known), lost=known.get("lost")
    )
    if state.settled:
        return state
    refusal = Refusal(mark=known.get("refused") or "", message=known.get("message") or "")
    if _holds(refusal.mark, request, ready_pods(observed)):
        return replace(state, refusal=refusal)
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


def _fetched(request: str, report: Report) -> AdapterCopy:
    return AdapterCopy(request=request, key=report.key or "", revision=report.revision)


def _concluded(
    state: AdapterState, verdict: Verdict | None, pods: tuple[Manifest, ...]
) -> AdapterState:
    if state.candidate is None:
        return state
    if not pods or verdict == Verdict():
        return replace(state, copy=state.candidate, candidate=None, lost=None)
    if verdict is None or verdict.missing:
        return state
    refusal = Refusal(mark=_mark(state.request, pods), message=verdict.error or "")
    return replace(state, candidate=None, refusal=refusal)


def _lost(model: EmbeddingModel, state: AdapterState, observed: Observed) -> AdapterState:
    """The Job that may still be there from the first time has nothing new to say."""
    job = observed.adapter_job(adapter_job_name(model.name, state.request))
    return replace(state, lost=job["metadata"]["uid"] if job else NO_JOB)


def _mark(request: str, pods: Iterable[Manifest]) -> str:
    """Names the request, and the documents of the pods that refused it: others may take it."""
    documents = {
        (pod["metadata"].get("annotations") or {}).get(DOCUMENT_ANNOTATION) for pod in pods
    }
    return f"{request}-{digest(sorted(map(str, documents)))[:8]}"


def _holds(mark: str, request: str, pods: tuple[Manifest, ...]) -> bool:
    """Whether a refusal is still the last word. While no pod is there, nobody has another one."""
    return mark == _mark(request, pods) if pods else mark.startswith(f"{request}-")
