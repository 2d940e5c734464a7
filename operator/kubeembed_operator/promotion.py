"""Pods of another vector space beside the old ones, and the switch from these to those. Pure.

How far a promotion is stands in the cluster alone, so that an operator that starts anew goes on with it.
First the next Deployment is made and waits. Once it may, the model's Service points at its pods. Then the
model's own Deployment gets the document, its pods are made anew, and the Service comes back to them; the
next ones go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

import yaml

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import DOCUMENT_ANNOTATION, NEXT, PROMOTE_ANNOTATION, SERVING
from kubeembed_api.podreasons import ready
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.adapterlists import Lists
from kubeembed_operator.adapters import AdapterState
from kubeembed_operator.adapterstatus import adapter_statuses
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Listing
from kubeembed_operator.manifests.metadata import digest
from kubeembed_operator.manifests.serving import document
from kubeembed_operator.observed import Observed
from kubeembed_operator.rollout import complete
from kubeembed_operator.vectorspaces import agreed
from kubeembed_operator.weights import Weights


class Next(Enum):
    """What becomes of the next Deployment: it is taken away, left as it is, or made as the document says."""

    GONE = auto()
    KEPT = auto()
    WANTED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """held: the model's own Deployment stays as it is. behind: the component of the pods that its Service
    points at. idle: its own are not asked, so that they are replaced at once.

    fingerprint: of the next pods, once all that there should be answer, and alike. lacking: adapters that the
    model serves and a next pod does not.
    """

    next: Next = Next.GONE
    held: bool = False
    behind: str = SERVING
    idle: bool = False
    fingerprint: str | None = None
    lacking: tuple[str, ...] = ()


NO_PROMOTION = Promotion()


def promotion_of(
    model: EmbeddingModel,
    weights: Weights,
    observed: Observed,
    infos: Sequence[RuntimeInfo] = (),
    current: str | None = None,
    lacking: Sequence[str] = (),
) -> Promotion:
    """infos: of the next pods that are ready, as far as they have told. current: the fingerprint that the
    model's own pods have; None: it has never served, so there is nobody to wait for."""
    own, coming = _space_of(observed.deployment), _space_of(observed.next.deployment)
    behind = NEXT if observed.switched else SERVING
    wanted = _wanted(model, weights)
    if own is None or (coming is None and model.spec.rollout.promote == "Auto"):
        return NO_PROMOTION
    if model.spec.rollout.paused:
        return Promotion(next=Next.KEPT, behind=behind)
    if observed.switched and own == coming:
        return _finished(observed, held=wanted != own)
    if wanted is None:  # it is being fetched
        return Promotion(next=Next.KEPT, behind=behind)
    if own == wanted:
        return NO_PROMOTION
    if observed.switched and coming == wanted:
        return Promotion(next=Next.KEPT, behind=NEXT, idle=True)
    if model.spec.rollout.promote == "Auto" or current is None:
        return NO_PROMOTION
    mark = _fingerprint(observed, infos) if coming == wanted else None
    told = model.metadata.annotations.get(PROMOTE_ANNOTATION)
    goes = mark is not None and mark in (told, current) and not lacking
    return Promotion(
        next=Next.WANTED,
        held=True,
        behind=NEXT if goes else SERVING,
        fingerprint=mark,
        lacking=tuple(lacking),
    )


def lacking(
    model: EmbeddingModel,
    states: Sequence[AdapterState],
    pods: Sequence[Manifest],
    listings: Mapping[str, Listing],
    lists: Lists,
) -> tuple[str, ...]:
    """The adapters that the model serves, and one of the ready ones of these pods does not. listings: what
    each of them has."""
    there = [pod for pod in pods if ready(pod)]
    told = adapter_statuses(model, states, there, listings, lists)
    return tuple(each.state.name for each in told if each.state.copy and each.pods < len(there))


@lru_cache(4096)
def space(document: str) -> str:
    """What of a document makes the vectors. Two of one space have one fingerprint on one kind of device."""
    try:
        told = yaml.safe_load(document)
        return digest([told["status"]["weights"]["key"], told["spec"]["recipe"]])
    except (yaml.YAMLError, KeyError, TypeError):  # somebody edited it by hand
        return digest(document)


def _finished(observed: Observed, *, held: bool) -> Promotion:
    """The promoted document is in both: the Service comes back once the model's own pods all answer."""
    done = observed.deployment is not None and complete(observed.deployment)
    return Promotion(next=Next.KEPT, held=held, behind=SERVING if done else NEXT, idle=not done)


def _wanted(model: EmbeddingModel, weights: Weights) -> str | None:
    if weights.copy is None:
        return None
    return space(document(model.model_copy(update={"resolved": weights.resolved})))


def _space_of(deployment: Manifest | None) -> str | None:
    """Of the pods that it makes."""
    if deployment is None:
        return None
    metadata = deployment["spec"]["template"].get("metadata") or {}
    return space((metadata.get("annotations") or {}).get(DOCUMENT_ANNOTATION) or "")


def _fingerprint(observed: Observed, infos: Sequence[RuntimeInfo]) -> str | None:
    deployment, pods = observed.next.deployment, observed.next.pods
    if deployment is None or not complete(deployment):
        return None
    found = agreed(infos) if len(infos) == sum(map(ready, pods)) else None
    return None if found is None else found.fingerprint
