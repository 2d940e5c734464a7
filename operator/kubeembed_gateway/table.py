"""What the gateway knows: models, the ports that belong to them, and their ready pods. Values alone.

Fed by the watches, object by object; asked by every request, so an answer is a lookup whatever the number of
models.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kubeembed_api.names import (
    ACTIVATOR_PORT_ANNOTATION,
    ACTIVATOR_PORTS,
    MODEL_LABEL,
    PLURAL,
)
from kubeembed_api.rollout import seconds
from kubeembed_gateway.told import UNTOLD, Told, read_told

Manifest = dict[str, Any]
#: Namespace and name of a model.
Key = tuple[str, str]

MODELS, SERVICES, SLICES = PLURAL, "services", "endpointslices"

#: What a client is told to wait for a model that was never seen to start.
UNKNOWN_START_SECONDS = 15

#: Of spec.scaling.hold, where the API server has put no default.
HOLD_REQUESTS, HOLD_WAIT = 256, "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that is ready. host: its address, in brackets where it is of IPv6."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What of an EmbeddingModel matters here.

    hold_requests, wait_seconds: how many requests wait for a pod, and for how long. start_seconds: how long
    the last start from zero took, None before the first. asleep, reason: of its conditions. keyed: its pods
    ask for an API key. guarded: its document says who may reach them. told: what persons are told.
    """

    namespace: str
    name: str
    adapters: tuple[str, ...] = ()
    hold_requests: int = HOLD_REQUESTS
    wait_seconds: float = 300.0
    start_seconds: float | None = None
    asleep: bool = False
    reason: str | None = None
    keyed: bool = False
    guarded: bool = False
    profile: str = ""
    created: str = ""
    dimensions: int | None = None
    max_tokens: int | None = None
    fingerprint: str | None = None
    told: Told = UNTOLD

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def retry_after(self) -> int:
        """Seconds until it is worth asking again."""
        seconds = self.start_seconds or UNKNOWN_START_SECONDS
        return max(1, math.ceil(seconds))


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


def read_model(manifest: Manifest) -> Model:
    """An EmbeddingModel as the API server has it."""
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    hold = (spec.get("scaling") or {}).get("hold") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    found = status.get("model") or {}
    return Model(
        namespace=manifest["metadata"]["namespace"],
        name=manifest["metadata"]["name"],
        adapters=tuple(each["name"] for each in spec.get("adapters") or ()),
        hold_requests=hold.get("requests", HOLD_REQUESTS),
        wait_seconds=float(seconds(hold.get("wait", HOLD_WAIT))),
        start_seconds=(status.get("lastColdStart") or {}).get("totalSeconds"),
        asleep=conditions.get("Asleep", {}).get("status") == "True",
        reason=conditions.get("Ready", {}).get("reason"),
        keyed=bool((spec.get("serving") or {}).get("apiKeysSecret")),
        guarded=(spec.get("network") or {}).get("allowFrom") is not None,
        profile=(spec.get("resources") or {}).get("profile") or "",
        created=manifest["metadata"].get("creationTimestamp") or "",
        dimensions=found.get("dimensions"),
        max_tokens=found.get("maxTokens"),
        fingerprint=found.get("fingerprint"),
        told=read_told(manifest),
    )


def activator_port(service: Manifest) -> int | None:
    """The port that a Service says; None where it says none, or one that is not the gateway's to open."""
    told = (service["metadata"].get("annotations") or {}).get(ACTIVATOR_PORT_ANNOTATION, "")
    return int(told) if told.isdecimal() and int(told) in ACTIVATOR_PORTS else None


def ready_pods(manifest: Manifest) -> tuple[Pod, ...]:
    """The endpoints of a slice that take requests. One without a name of its own has that of its address."""
    ports = [each["port"] for each in manifest.get("ports") or () if each.get("port")]
    found = []
    for endpoint in manifest.get("endpoints") or ():
        ready = (endpoint.get("conditions") or {}).get("ready", True)
        addresses = endpoint.get("addresses") or ()
        if ready and addresses and ports:
            host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
            name = (endpoint.get("targetRef") or {}).get("name") or host
            found.append(Pod(name=name, host=host, port=ports[0]))
    return tuple(found)


def key_of(manifest: Manifest) -> Key:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def _service_of(manifest: Manifest) -> Key:
    return manifest["metadata"]["namespace"], _labels(manifest)["kubernetes.io/service-name"]
