"""The newest state of each object that we have heard of, from the watches and from our own writes.

Reads of the operator come from here. A watch lags behind a write of our own, so the write's answer is kept at
once, and an older version that the watch brings later is not taken for a change.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from kubeembed_api.names import COLLECT, COMPONENT, MODEL_LABEL
from kubeembed_operator.kinds import (
    CHILDREN,
    CLAIM,
    JOB,
    LISTED,
    MODEL,
    POD,
    Key,
    Kind,
    Manifest,
    key_of,
)

#: Dropped from what is kept: at 300 models it is a third of the memory, and nobody reads it.
UNREAD = ("managedFields",)

#: All that is read of the spec of objects that are not compared with wanted ones.
READ_OF_SPEC: dict[Kind, tuple[str, ...]] = {JOB: (), POD: ("nodeName", "nodeSelector")}


class Store:
    """Objects by kind and key, and children by their model."""

    def __init__(self) -> None:
        #: Objects that the watch of each kind has brought.
        self.heard: Counter[Kind] = Counter()
        kinds = (*CHILDREN, *LISTED)
        self._objects: dict[Kind, dict[Key, Manifest]] = {k: {} for k in (MODEL, *kinds)}
        self._children: dict[Kind, defaultdict[Key, dict[Key, Manifest]]] = {
            kind: defaultdict(dict) for kind in kinds
        }

    def hear(self, kind: Kind, manifest: Manifest) -> bool:
        """`put` for what a watch brings: it shows that the watch lives."""
        self.heard[kind] += 1
        return self.put(kind, manifest)

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        return self._objects[kind].get(key)

    def keys(self, kind: Kind) -> list[Key]:
        return list(self._objects[kind])

    def children(self, kind: Kind, model: Key) -> tuple[Manifest, ...]:
        """The objects of a kind that carry the model's label, in the order of their names."""
        found = self._children[kind].get(model, {})
        return tuple(found[key] for key in sorted(found))

    def put(self, kind: Kind, manifest: Manifest) -> bool:
        """Whether it was newer than what was known."""
        key = key_of(manifest)
        known = self._objects[kind].get(key)
        if known is not None and version_of(known) >= version_of(manifest):
            return False
        if known is not None:
            self._forget(kind, key, known)
        kept = _trimmed(kind, manifest)
        self._objects[kind][key] = kept
        for owner in owners(kind, kept):
            self._children[kind][owner][key] = kept
        return True

    def drop(self, kind: Kind, manifest: Manifest) -> None:
        """Forgets a deleted object, unless one of the same name has been made since."""
        key = key_of(manifest)
        known = self._objects[kind].get(key)
        if known is not None and known["metadata"]["uid"] == manifest["metadata"]["uid"]:
            self._forget(kind, key, known)

    def versions(self, kind: Kind) -> Iterator[tuple[Key, str, int]]:
        """Key, uid and resource version of every object of a kind."""
        for key, manifest in self._objects[kind].items():
            yield key, manifest["metadata"]["uid"], version_of(manifest)

    def models_in(self, namespace: str) -> list[Key]:
        return [key for key in self._objects[MODEL] if key[0] == namespace]

    def objects(self, kind: Kind) -> list[Manifest]:
        return list(self._objects[kind].values())

    def claims_in(self, namespace: str) -> list[Manifest]:
        return [claim for key, claim in self._objects[CLAIM].items() if key[0] == namespace]

    def _forget(self, kind: Kind, key: Key, known: Manifest) -> None:
        del self._objects[kind][key]
        for owner in owners(kind, known):
            siblings = self._children[kind][owner]
            siblings.pop(key, None)
            if not siblings:
                del self._children[kind][owner]


def caches_of(namespace: str) -> Key:
    """What the work queue holds for the caches of a namespace: no model has this name."""
    return namespace, ""


def owners(kind: Kind, manifest: Manifest) -> list[Key]:
    """The model whose child an object is by its label, if it is one's; or the caches of its namespace."""
    if kind in (MODEL, CLAIM):
        return []
    labels: dict[str, str] = manifest["metadata"].get("labels") or {}
    if labels.get(COMPONENT) == COLLECT:
        return [caches_of(manifest["metadata"]["namespace"])]
    name = labels.get(MODEL_LABEL)
    return [(manifest["metadata"]["namespace"], name)] if name else []


def version_of(manifest: Manifest) -> int:
    """Resource versions of one kind are numbers that grow (Kubernetes promises it since 1.35)."""
    return int(manifest["metadata"]["resourceVersion"])


def _trimmed(kind: Kind, manifest: Manifest) -> Manifest:
    metadata: dict[str, Any] = manifest["metadata"]
    kept = {field: value for field, value in metadata.items() if field not in UNREAD}
    head = {"apiVersion": kind.api_version, "kind": kind.name}
    return {**manifest, **head, "metadata": kept, **_trimmed_spec(kind, manifest)}


def _trimmed_spec(kind: Kind, manifest: Manifest) -> Manifest:
    fields = READ_OF_SPEC.get(kind)
    if fields is None or "spec" not in manifest:
        return {}
    kept = {name: manifest["spec"][name] for name in fields if name in manifest["spec"]}
    if kind == POD:  # of its containers, what room they take
        containers = manifest["spec"].get("containers") or ()
        kept["containers"] = [{"resources": each.get("resources") or {}} for each in containers]
    return {"spec": kept}
