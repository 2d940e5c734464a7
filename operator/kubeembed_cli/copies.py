"""Models, what runs for them, and the notes on claims -> which copies lie where, who uses each, and when the
others go. Pure.

What is in use is told by models; what is not, by the last collection of the claim.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kubeembed_api.cachenotes import Note, read_notes
from kubeembed_api.caches import cache_claim, claims_of, keys_on, parsed, shared_claim
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import keys_in
from kubeembed_api.names import (
    COMPONENT,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    MODEL_LABEL,
    NEXT,
    NODE_CLAIM,
    SERVING,
)
from kubeembed_api.podreasons import Manifest
from kubeembed_api.sources import MOUNTED

WEIGHTS, SOURCE, OTHER = "weights", "source", "other pods"


@dataclass(frozen=True, slots=True)
class Use:
    """A model, and what the copy is to it: `weights`, `adapter NAME`, `source` (pvc://), or what `other pods`
    read, of an earlier template or of the next."""

    model: str
    what: str = WEIGHTS

    def __str__(self) -> str:
        return self.model if self.what == WEIGHTS else f"{self.model} ({self.what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyAt:
    """since, goes: of one that no model uses, in seconds since 1970; None where that is not decided yet."""

    key: str
    bytes: int | None = None
    source: str | None = None
    revision: str | None = None
    uses: tuple[Use, ...] = ()
    since: int | None = None
    goes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A claim; of the Node cache a node. cleared: whether the operator removes there what no model uses.

    users: of each key that must not go from the claim, whether or not its copy is known to lie there.
    """

    namespace: str
    claim: str
    node: str | None
    cleared: bool
    note: Note | None
    copies: tuple[CopyAt, ...]
    users: Mapping[str, tuple[str, ...]]

    @property
    def unlisted(self) -> tuple[int, int]:
        """Unused copies that the note counts and does not name, and their bytes."""
        note = self.note
        if note is None:
            return 0, 0
        named = sum(copy.bytes for copy in note.listed)
        return (note.unused or 0) - len(note.listed), (note.unused_bytes or 0) - named


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Of one namespace or of several, as lists have them."""

    models: Sequence[Manifest]
    deployments: Sequence[Manifest]
    config_maps: Sequence[Manifest]
    pods: Sequence[Manifest]
    claims: Sequence[Manifest]

    def of(self, namespace: str) -> "Objects":
        def here(found: Sequence[Manifest]) -> list[Manifest]:
            return [one for one in found if one["metadata"]["namespace"] == namespace]

        return Objects(
            models=here(self.models),
            deployments=here(self.deployments),
            config_maps=here(self.config_maps),
            pods=here(self.pods),
            claims=here(self.claims),
        )


def places(found: Objects) -> tuple[Place, ...]:
    """Of claims that the operator clears, or has cleared, or a model uses; by namespace and name."""
    claims = sorted(found.claims, key=lambda one: (one["metadata"]["namespace"], _name(one)))
    return tuple(
        place
        for claim in claims
        for place in _places(claim, found.of(claim["metadata"]["namespace"]))
    )


def _places(claim: Manifest, found: Objects) -> Iterator[Place]:
    name, notes = _name(claim), read_notes(claim)
    cleared = (claim["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGED_BY_VALUE
    keys = {_name(raw): _keys(name, raw, found) for raw in found.models}
    known = cleared or notes or any(_uses_claim(raw, name) for raw in found.models)
    users, alone = _by_key(keys), [None] if known else []
    for node in _nodes(found, notes) if name == NODE_CLAIM else alone:
        in_use = _in_use(name, node, keys, found)
        yield Place(
            namespace=claim["metadata"]["namespace"],
            claim=name,
            node=node,
            cleared=cleared,
            note=notes.get(node),
            copies=(*in_use, *_unused(notes.get(node), users)),
            users=users,
        )


def _nodes(found: Objects, notes: Mapping[str | None, Note]) -> list[str]:
    """With a note, or with pods of models that have copies on their nodes."""
    models = [model for model in map(parsed, found.models) if model and _on(model, NODE_CLAIM)]
    there = {node for model in models for node in _serving_nodes(model.name, found)}
    return sorted({node for node in notes if node} | there)


def _in_use(
    claim: str, node: str | None, keys: Mapping[str, set[str]], found: Objects
) -> list[CopyAt]:
    """Each key once, with all that use it."""
    merged: dict[str, CopyAt] = {}
    for raw in found.models:
        if node is not None and node not in _serving_nodes(_name(raw), found):
            continue
        for copy in _copies(raw, claim, keys[_name(raw)]):
            known = merged.get(copy.key)
            uses = (*known.uses, *copy.uses) if known else copy.uses
            merged[copy.key] = replace(copy if known is None else known, uses=uses)
    return [merged[key] for key in sorted(merged)]


def _copies(raw: Manifest, claim: str, keys: set[str]) -> Iterator[CopyAt]:
    """Of a model on a claim: its weights, its adapters, and what else its document or its pods name."""
    status, model = raw.get("status") or {}, parsed(raw)
    weights = status.get("weights") or {}
    adapters = [each for each in status.get("adapters") or () if each.get("key")]
    if model is not None and weights.get("key") and _on(model, claim):
        yield CopyAt(
            key=weights["key"],
            bytes=weights.get("bytes"),
            source=str(model.spec.model.parsed),
            revision=weights.get("revision"),
            uses=(Use(model.name),),
        )
    if model is not None and shared_claim(model) == claim:
        yield from (_adapter(model, told) for told in adapters)
    known, mounted = {weights.get("key"), *(told["key"] for told in adapters)}, keys_in(raw["spec"])
    for key in sorted(keys - known):
        yield CopyAt(key=key, uses=(Use(_name(raw), SOURCE if key in mounted else OTHER),))


def _adapter(model: EmbeddingModel, told: Manifest) -> CopyAt:
    sources = {each.name: str(each.parsed) for each in model.spec.adapters}
    return CopyAt(
        key=told["key"],
        source=sources.get(told["name"]),
        revision=told.get("revision"),
        uses=(Use(model.name, f"adapter {told['name']}"),),
    )


def _unused(note: Note | None, users: Mapping[str, Any]) -> list[CopyAt]:
    """What the last collection left, and what has gone out of use since."""
    if note is None:
        return []
    listed = {
        copy.key: CopyAt(
            key=copy.key,
            bytes=copy.bytes,
            source=copy.source,
            revision=copy.revision,
            since=copy.since,
            goes=copy.goes,
        )
        for copy in note.listed
    }
    went = {key: CopyAt(key=key) for key in sorted(note.keys)}
    return [copy for key, copy in {**went, **listed}.items() if key not in users]


def _keys(claim: str, raw: Manifest, found: Objects) -> set[str]:
    name = _name(raw)
    return keys_on(
        claim,
        raw,
        deployments=_of_model(name, found.deployments),
        config_map=next((one for one in found.config_maps if _name(one) == name), None),
        pods=_of_model(name, found.pods),
    )


def _by_key(keys: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    every = sorted({key for told in keys.values() for key in told})
    return {key: tuple(name for name in sorted(keys) if key in keys[name]) for key in every}


def _uses_claim(raw: Manifest, claim: str) -> bool:
    """Also as a source (pvc://), where it is no cache but what a model serves from."""
    model = parsed(raw)
    return model is not None and claim in claims_of(model)


def _on(model: EmbeddingModel, claim: str) -> bool:
    """Whether the copy of its weights is on that claim, as a copy in a cache."""
    return cache_claim(model) == claim and model.spec.model.parsed.scheme not in MOUNTED


def _of_model(name: str, found: Sequence[Manifest]) -> list[Manifest]:
    return [one for one in found if _labels(one).get(MODEL_LABEL) == name]


def _serving_nodes(model: str, found: Objects) -> set[str]:
    pods = _of_model(model, found.pods)
    serving = (pod for pod in pods if _labels(pod).get(COMPONENT) in (SERVING, NEXT))
    return {node for pod in serving if (node := (pod.get("spec") or {}).get("nodeName"))}


def _labels(one: Manifest) -> dict[str, str]:
    return one["metadata"].get("labels") or {}


def _name(one: Manifest) -> str:
    return str(one["metadata"]["name"])
