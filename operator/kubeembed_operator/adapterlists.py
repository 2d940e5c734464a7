"""Which adapters the pods of each base serve: lists in the model's ConfigMap, which templates name. Pure.

The document's adapters go to the list of the document's base. Pods of an earlier base keep what they had
until they go, also if they have to start once more: none takes an adapter that was meant for another base.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import ADAPTERS_ANNOTATION, ADAPTERS_KEY
from kubeembed_api.placed import PlacedAdapter, read_placed, write_placed
from kubeembed_api.podreasons import ready
from kubeembed_operator.adapters import AdapterState
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.adapters import adapter_folder, adapter_list
from kubeembed_operator.observed import Observed, annotation, template_of
from kubeembed_operator.rolledout import rolled_out
from kubeembed_operator.rollout import complete
from kubeembed_operator.weights import Weights

#: {name: folder as the pods see it}.
Folders = Mapping[str, str]

KEY_BEGIN, KEY_END = ADAPTERS_KEY.split("{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """`wanted`: that of the document's base; None while its weights are not known. `live`: that of the
    model's own Deployment, if there is one. `kept`: what the ConfigMap has, by list."""

    wanted: str | None = None
    live: str | None = None
    kept: Mapping[str, Folders] = field(default_factory=dict)

    def takes(self, pod: Manifest) -> bool:
        """Whether it is of the document's base."""
        return self.wanted is not None and list_of(pod) == self.wanted


def lists_of(model: EmbeddingModel, weights: Weights, observed: Observed) -> Lists:
    resolved = model.model_copy(update={"resolved": weights.resolved})
    deployment = observed.deployment
    return Lists(
        wanted=None if weights.copy is None else adapter_list(resolved),
        live=None if deployment is None else list_of(template_of(deployment)),
        kept=_kept(observed.config_map),
    )


def list_of(template: Manifest) -> str | None:
    """Of a pod, or of what pods are made of."""
    return annotation(template, ADAPTERS_ANNOTATION)


def placed(model: EmbeddingModel, states: Iterable[AdapterState], lists: Lists) -> Folders:
    """What a starting pod of the document's base serves: what is accepted, or was on that base before; not
    what was on another."""
    found = {}
    for state in states:
        if state.copy is not None and (state.settled or _served_before(lists)):
            found[state.name] = adapter_folder(model, state.copy.key)
        elif state.name in (before := lists.kept.get(lists.wanted or "", {})):
            found[state.name] = before[state.name]
    return found


def offered(model: EmbeddingModel, states: Iterable[AdapterState], lists: Lists) -> Folders:
    """What running pods of it are told to serve: candidates in the place of what they replace."""
    known = tuple(states)
    candidates = {
        state.name: adapter_folder(model, state.candidate.key)
        for state in known
        if state.candidate is not None
    }
    return {**placed(model, known, lists), **candidates}


def offer(pod: Manifest, wanted: Folders, lists: Lists) -> Folders | None:
    """What a pod is to serve; None where nobody knows any more, so that it keeps what it has."""
    return wanted if lists.takes(pod) else lists.kept.get(list_of(pod) or "")


def takers(observed: Observed, lists: Lists) -> tuple[Manifest, ...]:
    """The pods that can say whether an adapter fits the document's base."""
    pods = (*observed.serving_pods, *observed.next.pods)
    return tuple(pod for pod in pods if ready(pod) and lists.takes(pod))


def holds(states: Iterable[AdapterState], lists: Lists) -> bool:
    """Whether pods of the document's base have to wait, because they would come without an adapter that those
    of today serve in another revision. One that was refused is waited for by nobody."""
    if lists.live in (None, lists.wanted):
        return False
    return any(
        state.copy is not None and not state.settled and state.refusal is None for state in states
    )


def list_files(
    model: EmbeddingModel, states: Iterable[AdapterState], lists: Lists, observed: Observed
) -> dict[str, str]:
    """The keys of the ConfigMap: the document's list, and those that pods may still have to read."""
    needed = _needed(lists, observed)
    kept = {name: folders for name, folders in lists.kept.items() if name in needed}
    if lists.wanted is not None:
        kept[lists.wanted] = placed(model, states, lists)
    return {ADAPTERS_KEY.format(name): _written(folders) for name, folders in kept.items()}


def _served_before(lists: Lists) -> bool:
    """Whether what status remembers was served on the document's base, for want of the list itself: somebody
    deleted the ConfigMap."""
    return lists.wanted == lists.live and lists.wanted not in lists.kept


def _needed(lists: Lists, observed: Observed) -> set[str | None]:
    """Those of pods, and of what new ones may be made of: the templates of today, and those that were rolled
    out last, whose pods come back while a roll-out is under way. All, as long as a pod is not seen that the
    Deployments count."""
    found = (observed.deployment, observed.next.deployment)
    deployments = [each for each in found if each is not None]
    pods = (*observed.serving_pods, *observed.next.pods, *observed.leaving)
    if sum(map(_counted, deployments)) > len(pods) and not all(map(complete, deployments)):
        return {*lists.kept}
    made_of = (*map(template_of, deployments), *pods)
    return {*map(list_of, made_of), *(told.adapters for told in rolled_out(observed).values())}


def _counted(deployment: Manifest) -> int:
    return int((deployment.get("status") or {}).get("replicas") or 0)


def _kept(config_map: Manifest | None) -> Mapping[str, Folders]:
    data: Mapping[str, str] = (config_map or {}).get("data") or {}
    return {
        key.removeprefix(KEY_BEGIN).removesuffix(KEY_END): _read(text)
        for key, text in data.items()
        if key.startswith(KEY_BEGIN) and key.endswith(KEY_END)
    }


def _written(folders: Folders) -> str:
    return write_placed(PlacedAdapter(name=name, path=path) for name, path in folders.items())


@lru_cache(4096)
def _read(text: str) -> Folders:
    """Nothing where somebody edited it by hand."""
    try:
        return {each.name: each.path for each in read_placed(text)}
    except InvalidSpec:
        return {}
