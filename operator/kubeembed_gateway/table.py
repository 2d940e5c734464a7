"""What the gateway knows: models, the ports that belong to them, and their ready pods. Values alone.

Fed by the watches, object by object; asked by every request, so an answer is a lookup whatever the number of
models.
"""

from collections import defaultdict
from enum import StrEnum

from kubeembed_api.names import MODEL_LABEL, PLURAL
from kubeembed_gateway.reading import (
    Key,
    Manifest,
    Model,
    Pod,
    activator_port,
    key_of,
    read_model,
    ready_pods,
)

MODELS, SERVICES, SLICES = PLURAL, "services", "endpointslices"


class State(StrEnum):
    """READY: pods serve. ASLEEP: the next request wakes it. STARTING: no pods yet, for whatever reason."""

    READY = "Ready"
    ASLEEP = "Asleep"
    STARTING = "Starting"


class Table:
    """The newest state of what the watches brought.

    `changed` gathers the models whose pods changed, `gone` those that were deleted.
    """

    def __init__(self) -> None:
        self.models: dict[Key, Model] = {}
        self.ports: dict[int, Key] = {}
        self.changed: set[Key] = set()
        self.gone: set[Key] = set()
        self._names: defaultdict[str, set[Key]] = defaultdict(set)
        self._port_of: dict[Key, int] = {}
        self._claims: defaultdict[int, dict[Key, None]] = defaultdict(dict)
        self._slices: dict[Key, tuple[Key, tuple[Pod, ...]]] = {}
        self._slices_of: defaultdict[Key, set[Key]] = defaultdict(set)
        self._pods: dict[Key, tuple[Pod, ...]] = {}

    def pods(self, model: Key) -> tuple[Pod, ...]:
        """Those that are ready, in the order of their names."""
        return self._pods.get(model, ())

    def all_pods(self) -> set[Pod]:
        """Of all models."""
        return {pod for pods in self._pods.values() for pod in pods}

    def may_sleep(self, model: Key) -> bool:
        """Whether the operator has given it a port here: only such a model is woken by requests."""
        return self.ports.get(self._port_of.get(model, 0)) == model

    def named(self, name: str) -> list[Key]:
        """The models of that name, in the order of their namespaces."""
        return sorted(self._names.get(name, ()))

    def state(self, model: Model) -> State:
        if self.pods(model.key):
            return State.READY
        return State.ASLEEP if model.asleep and self.may_sleep(model.key) else State.STARTING

    def put(self, kind: str, manifest: Manifest) -> None:
        """One object of MODELS, SERVICES or SLICES, new or changed."""
        key = key_of(manifest)
        if kind == MODELS:
            self.models[key] = read_model(manifest)
            self.gone.discard(key)
            self._names[key[1]].add(key)
        elif kind == SERVICES:
            ours = MODEL_LABEL in _labels(manifest)
            self._put_port(key, activator_port(manifest) if ours else None)
        else:
            self._put_slice(key, _service_of(manifest), ready_pods(manifest))

    def drop(self, kind: str, key: Key) -> None:
        """One that was deleted."""
        if kind == MODELS:
            self.models.pop(key, None)
            self.gone.add(key)
            self._names[key[1]].discard(key)
            if not self._names[key[1]]:
                del self._names[key[1]]
        elif kind == SERVICES:
            self._put_port(key, None)
        else:
            self._drop_slice(key)

    def replace(self, kind: str, manifests: list[Manifest]) -> None:
        """All of a kind, as a list has them: what it lacks is gone."""
        for key in self._known(kind) - {key_of(manifest) for manifest in manifests}:
            self.drop(kind, key)
        for manifest in manifests:
            self.put(kind, manifest)

    def take_changed(self) -> set[Key]:
        """The models whose pods changed since the last call."""
        taken, self.changed = self.changed, set()
        return taken

    def _known(self, kind: str) -> set[Key]:
        if kind == MODELS:
            return set(self.models)
        if kind == SERVICES:
            return set(self._port_of)
        return set(self._slices)

    def _put_port(self, key: Key, port: int | None) -> None:
        """Of two Services that claim one port the first has it, a wrong answer being worse than none; the
        other gets it with the end of the first, which may be told after its own beginning."""
        old = self._port_of.pop(key, None)
        if old is not None and old != port:
            del self._claims[old][key]
            self._give_port(old)
        if port is not None:
            self._port_of[key] = port
            self._claims[port][key] = None
            self._give_port(port)

    def _give_port(self, port: int) -> None:
        """To the first that claims it."""
        first = next(iter(self._claims[port]), None)
        if first is None:
            del self._claims[port], self.ports[port]
        else:
            self.ports[port] = first

    def _put_slice(self, key: Key, owner: Key, pods: tuple[Pod, ...]) -> None:
        if self._slices.get(key, (owner,))[0] != owner:
            self._drop_slice(key)
        self._slices[key] = owner, pods
        self._slices_of[owner].add(key)
        self._gather(owner)

    def _drop_slice(self, key: Key) -> None:
        owner, _ = self._slices.pop(key, (key, ()))
        siblings = self._slices_of[owner]
        siblings.discard(key)
        if not siblings:
            del self._slices_of[owner]
        self._gather(owner)

    def _gather(self, owner: Key) -> None:
        """The ready pods of a model, of all its slices: a pod may be in two while it moves."""
        slices = (self._slices[key][1] for key in self._slices_of.get(owner, ()))
        found = {pod.name: pod for pods in slices for pod in pods}
        ready = tuple(found[name] for name in sorted(found))
        if ready == self.pods(owner):
            return
        self.changed.add(owner)
        if ready:
            self._pods[owner] = ready
        else:
            self._pods.pop(owner, None)


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def _service_of(manifest: Manifest) -> Key:
    return manifest["metadata"]["namespace"], _labels(manifest)["kubernetes.io/service-name"]
