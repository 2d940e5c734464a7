"""Which fetch Jobs are deleted and which are made. A template can't be changed: a Job begins anew. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeembed_api.document import EmbeddingModel
from kubeembed_operator.adapters import AdapterState
from kubeembed_operator.fetches import finished
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.adapters import adapter_job
from kubeembed_operator.manifests.metadata import stamp, stamped
from kubeembed_operator.manifests.weights import fetch_job
from kubeembed_operator.observed import Observed
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Weights

#: Adapters of one model that are fetched side by side, and with them those that wait for their next try after
#: something went wrong: each is a pod, which holds on to its resources.
ADAPTERS_AT_ONCE, ADAPTER_JOBS = 4, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Those to be deleted, and those to be applied."""

    outdated: tuple[Manifest, ...]
    new: tuple[Manifest, ...]


def jobs_of(
    model: EmbeddingModel,
    settings: Settings,
    observed: Observed,
    weights: Weights,
    adapters: Sequence[AdapterState],
) -> Jobs:
    """Of the model's own weights and of its adapters."""
    own = stamped(fetch_job(model, settings))
    outdated = _outdated(own, observed, weights)
    fetches = weights.copy is None and own["metadata"]["name"] not in _names(outdated)
    wanted = {
        state.name: stamped(adapter_job(model, state.adapter, settings)) for state in adapters
    }
    stale = _stale(wanted, observed, adapters)
    new = _new_of_adapters(wanted, stale, adapters)
    return Jobs(outdated=(*outdated, *stale), new=(*([own] if fetches else []), *new))


def _outdated(wanted: Manifest, observed: Observed, weights: Weights) -> list[Manifest]:
    """Jobs of other requests; and one of this request that has to begin anew, because it ended without a
    result or was made with other settings."""
    name = wanted["metadata"]["name"]
    others = [job for job in observed.jobs if job["metadata"]["name"] != name]
    job = observed.job(name)
    if job is None or weights.copy is not None:
        return others
    anew = weights.spent or stamp(job) != stamp(wanted)
    return [*others, job] if anew else others


def _stale(
    wanted: Mapping[str, Manifest], observed: Observed, adapters: Sequence[AdapterState]
) -> list[Manifest]:
    """Of requests that nobody has any more, and those that have to begin anew. Others go by themselves, some
    time after their end."""
    names = _names([*wanted.values()])
    others = [job for job in observed.adapter_jobs if job["metadata"]["name"] not in names]
    anew = [
        state.fetch.job
        for state in adapters
        if state.to_fetch and state.fetch is not None
        if state.fetch.spent or stamp(state.fetch.job) != stamp(wanted[state.name])
    ]
    return [*(job for job in others if not finished(job)), *anew]


def _new_of_adapters(
    wanted: Mapping[str, Manifest], stale: list[Manifest], adapters: Sequence[AdapterState]
) -> list[Manifest]:
    """New ones, as far as those that run leave room. Those in trouble take none, unless they are many."""
    stopped = _names(stale)
    fetches = [state for state in adapters if state.to_fetch]
    going = sum(state.fetch is not None and state.fetch.going for state in fetches)
    waiting = [state for state in fetches if state.fetch is None]
    begun = len(fetches) - len(waiting)
    room = max(min(ADAPTERS_AT_ONCE - going, ADAPTER_JOBS - begun), 0)
    jobs = [wanted[state.name] for state in waiting[:room]]
    return [job for job in jobs if job["metadata"]["name"] not in stopped]


def _names(manifests: list[Manifest]) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in manifests]
