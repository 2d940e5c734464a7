"""Adapters as they are known and as the pods have them -> their part of the status. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import ADMIN_PORT
from kubeembed_api.podreasons import shortened
from kubeembed_api.reasons import Reason
from kubeembed_operator.adapterlists import Lists
from kubeembed_operator.adapters import AdapterState
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Held, Listing, identity
from kubeembed_operator.manifests.adapters import adapter_folder

#: Not loaded by every pod yet, but nothing that anybody has to do something about.
ON_THE_WAY = (Reason.FETCHING, Reason.LOADING, Reason.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterStatus:
    """One adapter: its entry in the status. `pods` serve the copy that is named by it."""

    state: AdapterState
    reason: Reason
    message: str = ""
    pods: int = 0
    fingerprint: str | None = None

    def entry(self, desired: int) -> dict[str, Any]:
        copy, refusal = self.state.copy, self.state.refusal
        told = {
            "name": self.state.name,
            "request": copy.request if copy else None,
            "key": copy.key if copy else None,
            "revision": copy.revision if copy else None,
            "fingerprint": self.fingerprint,
            "ready": f"{self.pods}/{desired}",
            "reason": str(self.reason),
            "message": self.message,
            "refused": refusal.mark if refusal else None,
            "refusedKey": refusal.copy.key if refusal and refusal.copy else None,
            "refusedRevision": refusal.copy.revision if refusal and refusal.copy else None,
            "lost": self.state.lost,
        }
        return {name: value for name, value in told.items() if value not in (None, "")}


def adapter_statuses(
    model: EmbeddingModel,
    states: Sequence[AdapterState],
    pods: Sequence[Manifest],
    listings: Mapping[str, Listing],
    lists: Lists,
) -> tuple[AdapterStatus, ...]:
    """pods: those that are ready; listings: what each of them has, where it has told."""
    return tuple(_status(model, state, pods, listings, lists) for state in states)


def summary(statuses: Sequence[AdapterStatus]) -> str | None:
    """For the column: of the adapters, so many are as the document wants them in every pod."""
    loaded = sum(each.reason is Reason.LOADED for each in statuses)
    return f"{loaded}/{len(statuses)}" if statuses else None


def first_amiss(statuses: Sequence[AdapterStatus]) -> AdapterStatus | None:
    """The first that somebody has to do something about, else the first that is on its way."""
    amiss = [each for each in statuses if each.reason is not Reason.LOADED]
    return min(amiss, key=lambda each: each.reason in ON_THE_WAY, default=None)


def _status(
    model: EmbeddingModel,
    state: AdapterState,
    pods: Sequence[Manifest],
    listings: Mapping[str, Listing],
    lists: Lists,
) -> AdapterStatus:
    copy = state.copy
    if copy is None:
        reason, message = _coming(state, lists)
        return AdapterStatus(state=state, reason=reason, message=message)
    path = adapter_folder(model, copy.key)
    serving = [held for held in _held(state.name, pods, listings) if held.serves(path)]
    told = (held.fingerprint for held in serving)
    reason, message = (
        _loaded(state.name, path, pods, listings, lists) if state.settled else _coming(state, lists)
    )
    return AdapterStatus(
        state=state,
        reason=reason,
        message=message,
        pods=len(serving),
        fingerprint=next((mark for mark in told if mark), copy.fingerprint),
    )


def _coming(state: AdapterState, lists: Lists) -> tuple[Reason, str]:
    """How far what the document asks for is."""
    source = state.adapter.source
    if state.refusal is not None:
        return state.refusal.reason, shortened(state.refusal.message)
    if state.lost is not None and state.fetch is None:
        return (
            Reason.WEIGHTS_MISSING,
            "a pod did not find its copy in the cache; it is fetched again",
        )
    if state.candidate is not None and lists.wanted is None:
        return Reason.PENDING, f"{source} is fetched; it waits for the weights"
    if state.candidate is not None:
        return Reason.LOADING, f"{source} is fetched; a pod is loading it"
    if state.fetch is not None and state.fetch.trouble is not None:
        return state.fetch.trouble.reason, state.fetch.trouble.message
    if state.fetch is None:
        return Reason.FETCHING, f"{source} waits until others are fetched"
    return Reason.FETCHING, f"{source} is being fetched"


def _loaded(
    name: str,
    path: str,
    pods: Sequence[Manifest],
    listings: Mapping[str, Listing],
    lists: Lists,
) -> tuple[Reason, str]:
    """Whether every pod that is ready serves what was fetched."""
    if not pods:
        return Reason.PENDING, "it is fetched; no pod is ready to load it"
    silent = [pod["metadata"]["name"] for pod in pods if identity(pod) not in listings]
    held = list(_held(name, pods, listings))
    refused = [each for each in held if each.refused == path]
    if refused:
        return refused[0].reason, shortened(refused[0].error or "")
    if silent:
        problem = f"pod {silent[0]} does not answer the operator on its admin port {ADMIN_PORT}"
        return Reason.NOT_READY, f"{problem}: look at its log, and at what the network lets through"
    if not all(each.serves(path) for each in held):
        if not all(map(lists.takes, pods)):
            return (
                Reason.LOADING,
                "it comes with the changed model's pods; others keep what they have",
            )
        return Reason.LOADING, "pods are loading it"
    return Reason.LOADED, ""


def _held(name: str, pods: Sequence[Manifest], listings: Mapping[str, Listing]) -> Iterator[Held]:
    """What each pod that has told has under the name."""
    for pod in pods:
        listing = listings.get(identity(pod))
        if listing is not None:
            yield listing.get(name, Held())
