"""Looks at a model's pods when KEDA asks how loaded they are. On every operator, leading or not.

Nothing is kept but what pods told last, because a figure needs two looks. What lets a model sleep is looked
at each time: a request may have woken it a moment ago.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.names import COMPONENT, MODEL_LABEL, SERVING, activator_slice_name
from kubeembed_api.podreasons import ready
from kubeembed_api.report import Load
from kubeembed_api.scaling import Target
from kubeembed_operator.figures import figure, with_load
from kubeembed_operator.kedaload import AWAKE, load_of, sleeps
from kubeembed_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, Key, Kind, Manifest
from kubeembed_operator.listings import identity
from kubeembed_operator.loads import Admin, ready_addresses
from kubeembed_operator.observed import terminating
from kubeembed_operator.settings import Gateway
from kubeembed_operator.sleep import replicas_of

#: Seconds between two looks at a pod that was not looked at lately, and how long a look is good for.
APART, STALE = 1.0, 20.0
#: Seconds for which an answer that keeps a model awake is given again.
KEPT = 1.0
#: Models that are looked at at once.
AT_ONCE = 200


class NotThere(KubeEmbedError):
    """There is no such model, or it has no Deployment yet."""


class TooMany(KubeEmbedError):
    """More models are asked for than can be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A model, what its load is measured by, and after how many idle seconds it may sleep; None: never."""

    key: Key
    target: Target
    idle_seconds: float | None = None


class Finder(Protocol):
    """Who finds objects. Raises ClusterError."""

    async def find(self, kind: Kind, key: Key) -> Manifest | None: ...

    async def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]: ...


class KedaFigures:
    """Called with what is asked. Many who ask the same at once cost one look."""

    def __init__(
        self,
        *,
        cluster: Finder,
        pods: Admin,
        gateway: Gateway | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._gateway = gateway
        self._clock = clock
        self._looks: dict[Asked, asyncio.Task[float]] = {}
        self._kept: dict[Asked, tuple[float, float]] = {}
        self._loads: dict[Key, dict[str, tuple[Load, ...]]] = {}

    async def __call__(self, asked: Asked) -> float:
        """The load in per cent of the targets, 0 where the model may sleep. Raises NotThere, TooMany,
        ClusterError."""
        now = asyncio.get_running_loop().time()
        self._kept = {
            each: (at, load) for each, (at, load) in self._kept.items() if now - at < KEPT
        }
        if asked in self._kept:
            return self._kept[asked][1]
        if asked not in self._looks:
            if len(self._looks) >= AT_ONCE:
                raise TooMany(f"{AT_ONCE} models are being looked at; ask again later")
            self._looks[asked] = asyncio.create_task(self._look(asked))
            self._looks[asked].add_done_callback(lambda look: self._looked(asked, look))
        return await asyncio.shield(self._looks[asked])

    async def _look(self, asked: Asked) -> float:
        deployment = await self._cluster.find(DEPLOYMENT, asked.key)
        if deployment is None:
            self._loads.pop(asked.key, None)
            raise NotThere(f"{'/'.join(asked.key)} has no Deployment")
        replicas = replicas_of(deployment)
        if replicas == 0:
            return AWAKE if asked.idle_seconds is None else 0.0
        pods = await self._ready_pods(asked.key)
        told = await self._told(asked.key, pods)
        if await self._sleeps(asked, deployment, pods, told):
            return 0.0
        load = await self._load(asked, replicas, pods)
        self._kept[asked] = (asyncio.get_running_loop().time(), load)
        return load

    def _looked(self, asked: Asked, look: "asyncio.Task[float]") -> None:
        """What went wrong is told to those who asked, if they still wait for it."""
        del self._looks[asked]
        if not look.cancelled():
            look.exception()

    async def _ready_pods(self, key: Key) -> list[Manifest]:
        namespace, name = key
        labels = {COMPONENT: SERVING, MODEL_LABEL: name}
        found = await self._cluster.pods_with(namespace, labels)
        return [pod for pod in found if ready(pod) and not terminating(pod)]

    async def _told(self, key: Key, pods: Iterable[Manifest]) -> list[Load]:
        """By those that answer. What they told before stays known, unless it was long ago."""
        named = {identity(pod): pod for pod in pods}
        answers = await asyncio.gather(*map(self._pods.load, named.values()))
        told = {name: load for name, load in zip(named, answers, strict=True) if load is not None}
        before = self._loads.get(key, {})
        self._loads[key] = {
            name: with_load(_recent(before.get(name, ()), load), load)
            for name, load in told.items()
        }
        return list(told.values())

    async def _sleeps(
        self, asked: Asked, deployment: Manifest, pods: list[Manifest], told: list[Load]
    ) -> bool:
        """The gateway is looked for only where all else lets the model sleep."""
        if asked.idle_seconds is None or self._gateway is None:
            return False
        if not told or any(load.idle_seconds < asked.idle_seconds for load in told):
            return False
        namespace, name = asked.key
        slice_key = (namespace, activator_slice_name(name))
        activator = await self._cluster.find(ENDPOINT_SLICE, slice_key)
        found = await self._cluster.pods_with(self._gateway.namespace, self._gateway.labels)
        return sleeps(
            deployment,
            pods,
            told,
            asked.idle_seconds,
            activator,
            ready_addresses(found),
            self._clock(),
        )

    async def _load(self, asked: Asked, replicas: int, pods: list[Manifest]) -> float:
        if any(len(loads) < 2 for loads in self._loads[asked.key].values()):
            await asyncio.sleep(APART)
            await self._told(asked.key, pods)
        figures = [figure(loads) for loads in self._loads[asked.key].values()]
        known = [each for each in figures if each is not None]
        return load_of(asked.target, replicas, known, len(pods) - len(known))


def _recent(known: tuple[Load, ...], load: Load) -> tuple[Load, ...]:
    return tuple(each for each in known if load.up_seconds - each.up_seconds < STALE)
