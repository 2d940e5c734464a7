"""Every two seconds: the load of models whose number follows it, their schedules, and where the gateway is.

The one loop of scaling. It writes nothing: it keeps what it knows of each model, and wakes those for which
something is to be done. Models with a fixed number cost nothing here.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import COMPONENT, SERVING
from kubeembed_api.podreasons import ready
from kubeembed_api.report import Load
from kubeembed_api.scaling import Scaling
from kubeembed_operator.autoscaler import EMPTY, History, Loaded, decide
from kubeembed_operator.cluster import ClusterError
from kubeembed_operator.figures import figure, idle, with_load
from kubeembed_operator.kinds import DEPLOYMENT, ENDPOINT_SLICE, POD, Key, Manifest
from kubeembed_operator.listings import identity
from kubeembed_operator.observed import activates, terminating
from kubeembed_operator.schedules import NOTHING, Scheduled, scheduled
from kubeembed_operator.settings import Gateway
from kubeembed_operator.sleep import Demand, replicas_of
from kubeembed_operator.store import Store

logger = logging.getLogger(__name__)

PERIOD = 2.0


class Admin(Protocol):
    """The admin ports of pods."""

    async def load(self, pod: Manifest) -> Load | None: ...


class Finder(Protocol):
    """Who lists pods. Raises ClusterError."""

    async def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]: ...


@dataclass(slots=True)
class Followed:
    """A model, and what its pods have told. `loads` by identity of the pod."""

    model: EmbeddingModel
    loads: dict[str, tuple[Load, ...]] = field(default_factory=dict)
    history: History = EMPTY
    replicas: int | None = None
    scheduled: Scheduled = NOTHING
    idle: frozenset[str] = frozenset()

    def bounds(self) -> Scaling:
        """With the least that a schedule in force asks for."""
        scaling = self.model.spec.scaling
        least = max(scaling.min, self.scheduled.replicas)
        return scaling.model_copy(update={"min": least})


class Loads:
    """`run` looks until it is cancelled; passes `follow` models and ask for their `demand`."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Finder,
        pods: Admin,
        gateway: Gateway | None,
        wake: Callable[[Key], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._clock = clock
        self._store = store
        self._cluster = cluster
        self._pods = pods
        self._gateway = gateway
        self._wake = wake
        self._followed: dict[Key, Followed] = {}
        self._gateways: tuple[str, ...] | None = None

    def follow(self, model: EmbeddingModel) -> None:
        """From here on, or as its document is now; not at all where the number is fixed or others'."""
        key = (model.namespace, model.name)
        known = self._followed.get(key)
        if not model.spec.scaling.followed:
            self.forget(key)
        elif known is None or known.model.metadata.uid != model.metadata.uid:
            self._followed[key] = Followed(model)
            self._schedule(self._followed[key])
        else:
            changed = known.model.spec.scaling.schedules != model.spec.scaling.schedules
            known.model = model
            if changed:
                self._schedule(known)

    def forget(self, key: Key) -> None:
        self._followed.pop(key, None)

    def demand(self, model: EmbeddingModel, port: int | None) -> Demand:
        known = self._followed.get((model.namespace, model.name))
        if known is None:
            return Demand(gateways=self._gateways, port=port)
        return Demand(
            replicas=known.replicas,
            least=known.scheduled.replicas,
            idle=known.idle,
            gateways=self._gateways,
            port=port,
        )

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            await self.look(begun)
            await asyncio.sleep(max(0.0, begun + PERIOD - clock()))

    async def look(self, now: float) -> None:
        """One look at everything."""
        moved = await self._find_gateways()
        asked = {key: self._ready_pods(key) for key in self._followed}
        told = await self._ask(pod for pods in asked.values() for pod in pods)
        for key, pods in asked.items():
            followed = self._followed.get(key)
            if followed is None:
                continue  # it went while its pods were asked
            if followed.scheduled.until is not None and self._clock() >= followed.scheduled.until:
                self._schedule(followed)
            self._judge(key, followed, pods, told, now)
            if self._has_to_act(key, followed) or (moved and self._leads(key)):
                self._wake(key)

    def _schedule(self, followed: Followed) -> None:
        followed.scheduled = scheduled(followed.model.spec.scaling.schedules, self._clock())

    async def _find_gateways(self) -> bool:
        """Whether they are others than before. They are looked for while a model may need them."""
        models = (each.model for each in self._followed.values())
        if self._gateway is None or not any(model.spec.scaling.may_sleep for model in models):
            return False
        before = self._gateways
        try:
            found = await self._cluster.pods_with(self._gateway.namespace, self._gateway.labels)
        except ClusterError as error:
            logger.warning("cannot look for the gateway: %s", error)
            return False
        self._gateways = ready_addresses(found)
        return self._gateways != before

    async def _ask(self, pods: Iterable[Manifest]) -> dict[str, Load]:
        """By identity; those that do not answer are left out."""
        named = {identity(pod): pod for pod in pods}
        answers = await asyncio.gather(*map(self._pods.load, named.values()))
        return {name: load for name, load in zip(named, answers, strict=True) if load is not None}

    def _judge(
        self,
        key: Key,
        followed: Followed,
        pods: list[Manifest],
        told: dict[str, Load],
        now: float,
    ) -> None:
        names = {identity(pod): pod["metadata"]["uid"] for pod in pods}
        followed.loads = {
            name: with_load(followed.loads.get(name, ()), told[name])
            for name in names
            if name in told
        }
        quiet = followed.model.spec.scaling.idle_seconds
        followed.idle = frozenset(
            uid for name, uid in names.items() if name in told and idle(told[name], quiet)
        )
        deployment = self._store.get(DEPLOYMENT, key)
        ours = followed.model.spec.scaling.automatic
        if deployment is None or replicas_of(deployment) == 0 or not ours:
            followed.replicas, followed.history = None, EMPTY
            return
        figures = [figure(loads) for loads in followed.loads.values()]
        known = tuple(each for each in figures if each is not None)
        loaded = Loaded(
            told=known,
            missing=len(names) - len(known),
            unready=len(self._serving_pods(key)) - len(names),
        )
        followed.replicas, followed.history = decide(
            followed.bounds(),
            replicas_of(deployment),
            loaded,
            followed.history,
            now,
        )

    def _has_to_act(self, key: Key, followed: Followed) -> bool:
        """Whether a pass has something to do; one too many costs a millisecond."""
        deployment = self._store.get(DEPLOYMENT, key)
        if deployment is None:
            return False
        if replicas_of(deployment) == 0:
            return followed.scheduled.replicas > 0
        if followed.replicas is not None and followed.replicas != replicas_of(deployment):
            return True
        pods = {pod["metadata"]["uid"] for pod in self._ready_pods(key)}
        sleeps = followed.bounds().may_sleep and bool(pods) and followed.idle >= pods
        return sleeps or self._leads(key)

    def _leads(self, key: Key) -> bool:
        """Whether a slice of the model's leads to the gateway, or has to."""
        followed, deployment = self._followed[key], self._store.get(DEPLOYMENT, key)
        asleep = deployment is not None and replicas_of(deployment) == 0
        slices = self._store.children(ENDPOINT_SLICE, key)
        return (asleep and followed.model.spec.scaling.may_sleep) or any(map(activates, slices))

    def _serving_pods(self, key: Key) -> list[Manifest]:
        return [
            pod
            for pod in self._store.children(POD, key)
            if pod["metadata"]["labels"].get(COMPONENT) == SERVING and not terminating(pod)
        ]

    def _ready_pods(self, key: Key) -> list[Manifest]:
        return [pod for pod in self._serving_pods(key) if ready(pod)]


def ready_addresses(pods: Iterable[Manifest]) -> tuple[str, ...]:
    """IPv4 of those that are ready and not going, in order."""
    there = (pod["status"]["podIP"] for pod in pods if ready(pod) and not terminating(pod))
    return tuple(sorted(address for address in there if ":" not in address))
