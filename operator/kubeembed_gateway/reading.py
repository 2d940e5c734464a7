"""Objects as the API server has them -> what of them matters to the gateway. Values alone."""

import math
from dataclasses import dataclass
from typing import Any

from kubeembed_api.names import (
    ACTIVATOR_PORT_ANNOTATION,
    ACTIVATOR_PORTS,
)
from kubeembed_api.rollout import seconds
from kubeembed_gateway.told import UNTOLD, Told, read_told

Manifest = dict[str, Any]

#: Namespace and name of a model.
Key = tuple[str, str]

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
