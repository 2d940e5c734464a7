"""The story of one model: parse, observe, plan, apply, tell. A pass starts from what is, not what happened.

The user's mistake ends in a condition and is not tried again until the document changes. The world's failure
ends in a condition where it has one, and is tried again with back-off.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.reasons import Reason
from kubeembed_operator.adapterlists import lists_of, placed
from kubeembed_operator.adapters import adapters_of, ready_pods
from kubeembed_operator.adapterstatus import AdapterStatus, adapter_statuses
from kubeembed_operator.applying import Applier, BeingCollected, NameTaken
from kubeembed_operator.cluster import Cluster, ClusterError, Refused
from kubeembed_operator.coldstart import awoken, cold_start
from kubeembed_operator.condition import unseen
from kubeembed_operator.conditions import conditions
from kubeembed_operator.events import Recorder
from kubeembed_operator.goldens import look_in
from kubeembed_operator.inquiry import Inquiry, Memory
from kubeembed_operator.kinds import MODEL, Key, Manifest
from kubeembed_operator.listings import identity
from kubeembed_operator.loads import Loads
from kubeembed_operator.manifests.node_cache import on_node
from kubeembed_operator.metrics import Metrics
from kubeembed_operator.observed import Observed, age, observe
from kubeembed_operator.plan import placing, plan
from kubeembed_operator.pods import Pods
from kubeembed_operator.ports import ActivatorPorts, NoPortLeft
from kubeembed_operator.promotion import Promotion, lacking, promotion_of
from kubeembed_operator.promotionstatus import next_status, waits
from kubeembed_operator.rollout import rollout_of
from kubeembed_operator.scaledobjects import ScaledObjects
from kubeembed_operator.schedules import check_schedules
from kubeembed_operator.settings import Settings
from kubeembed_operator.sleep import Step, step
from kubeembed_operator.status import Status, status
from kubeembed_operator.store import Store
from kubeembed_operator.supported import Problem, check_installation, refused, unsupported
from kubeembed_operator.telling import Teller
from kubeembed_operator.vectorspaces import told_fingerprint
from kubeembed_operator.weights import Weights, recorded, weights_of
from kubeembed_operator.workqueue import TryAgain

logger = logging.getLogger(__name__)

#: Seconds that a verdict waits for the Deployment controller to see what was applied.
UNSEEN_POLL, UNSEEN_SECONDS = 0.5, 3.0
#: Seconds that the first word about a fetch waits for its pod.
JUST_MADE = 1.5
#: Seconds until a name that was taken is looked at again: other objects are not watched.
TAKEN_POLL = 10.0


class Reconciler:
    """Called by the work queue with the key of a model, never twice at once for one key."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Cluster,
        settings: Settings,
        pods: Pods,
        loads: Loads,
        scaled_objects: ScaledObjects,
        recorder: Recorder,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._inquiry = Inquiry(pods, cluster, clock)
        self._loads = loads
        self._scaled_objects = scaled_objects
        self._ports = ActivatorPorts(store)
        self._teller = Teller(store, cluster, recorder, clock)
        self._metrics = metrics
        self._clock = clock
        self._applier = Applier(store, cluster)
        self._memories: dict[Key, Memory] = {}

    async def __call__(self, key: Key) -> float | None:
        """One pass. Seconds until the next one is wanted; raises TryAgain."""
        result = "ok"
        try:
            with self._metrics.seconds.time():
                return await self._look(key)
        except TryAgain:
            result = "failed"
            raise
        except BaseException:
            result = "bug"
            raise
        finally:
            self._metrics.reconciles.labels(result).inc()

    async def _look(self, key: Key) -> float | None:
        raw = self._store.get(MODEL, key)
        if raw is None or "deletionTimestamp" in raw["metadata"]:
            self._memories.pop(key, None)  # what it owned is collected by Kubernetes
            self._loads.forget(key)
            return None
        model = await self._parsed(raw)
        if model is None:
            self._loads.forget(key)
            return None
        try:
            return await self._pass(model, raw)
        except NameTaken as error:
            await self._tell_problem(raw, Problem(Reason.NAME_TAKEN, str(error)))
            return TAKEN_POLL
        except Refused as error:
            await self._tell_problem(raw, refused(model, str(error)))
            raise self._failed(key, error) from error
        except (BeingCollected, ClusterError, NoPortLeft) as error:
            raise self._failed(key, error) from error

    async def _parsed(self, raw: Manifest) -> EmbeddingModel | None:
        """None where the document is wrong or not supported, which has been told then."""
        try:
            model = parse(raw)
            check_installation(model, self._settings)
            check_schedules(model.spec.scaling.schedules)
            problem = unsupported(model)
        except InvalidSpec as error:
            problem = Problem(Reason.INVALID_SPEC, str(error))
        if problem is None:
            return model
        await self._tell_problem(raw, problem)
        return None

    async def _pass(self, model: EmbeddingModel, raw: Manifest) -> float | None:
        memory = self._memories.setdefault((model.namespace, model.name), Memory())
        memory.golden = await self._inquiry.golden(model)
        weights, due, held = await self._act(model, raw, memory)
        observed = observe(self._store, model, memory.golden)
        if self._must_wait(observed, memory) or self._just_made(weights, observed):
            return UNSEEN_POLL
        look = await self._account(model, raw, memory, observed, weights, held)
        return _soonest(look, due.look_in, look_in(observed))

    async def _act(
        self, model: EmbeddingModel, raw: Manifest, memory: Memory
    ) -> tuple[Weights, Step, bool]:
        """Makes the objects what they should be. What is known of the weights, the step of scaling that was
        taken, and whether the Deployment is held where it is."""
        observed = observe(self._store, model, memory.golden)
        weights = weights_of(model, recorded(raw), observed)
        lists = lists_of(model, weights, observed)
        adapters = adapters_of(model, raw, observed, lists.wanted)
        rollout = rollout_of(model, observed, self._clock())
        promotion, _ = await self._promotion(model, raw, weights, observed, memory)
        self._loads.follow(model)
        port, keda = self._ports.of(model), self._scaled_objects.installed
        due = step(model, observed, self._loads.demand(model, port), self._clock())
        made = plan(
            model, self._settings, observed, weights, adapters, rollout, promotion, due, port, keda
        )
        await self._applier.carry_out(model, made)
        memory.awoken = awoken(observed, due) or memory.awoken
        return weights, due, made.held

    async def _account(
        self,
        model: EmbeddingModel,
        raw: Manifest,
        memory: Memory,
        observed: Observed,
        weights: Weights,
        held: bool,
    ) -> float | None:
        """Asks Jobs and pods how things are, and tells it in the status. Seconds to the next look."""
        weights, progress, poll = await self._inquiry.fetch(weights, raw, memory)
        if on_node(model) and weights.copy is not None:
            weights, poll = await self._inquiry.nodes(weights, observed, memory)
        infos, ask = await self._inquiry.infos(observed.serving_pods, memory.own)
        promotion, look = await self._promotion(model, raw, weights, observed, memory)
        told, push = await self._placed(model, raw, memory, observed, weights)
        coming, now = tuple(memory.next.infos.values()), self._clock()
        rollout = replace(rollout_of(model, observed, now), held=held)
        infos = coming if observed.switched else infos
        waiting = waits(model, promotion, observed, told_fingerprint(raw))
        waiting = waiting or self._scaled_objects.trouble(model)
        found = conditions(model, weights, observed, now, told, rollout, infos, waiting)
        wanted = status(
            model,
            raw.get("status") or {},
            found,
            weights=weights,
            observed=observed,
            progress=progress,
            infos=infos,
            now=now,
            adapters=told,
            coming=next_status(model, observed, coming),
            cold_start=self._cold_start(memory),
        )
        await self._teller.tell(raw, wanted, found[0])
        memory.start_told(observed.serving_pods)
        return _soonest(poll, ask, push, look, rollout.look_in)

    async def _placed(
        self,
        model: EmbeddingModel,
        raw: Manifest,
        memory: Memory,
        observed: Observed,
        weights: Weights,
    ) -> tuple[tuple[AdapterStatus, ...], float | None]:
        """The adapters as the pods have taken them, and seconds to the next look. They are placed before
        status calls one loaded: a pod that starts anew serves what is placed."""
        lists = lists_of(model, weights, observed)
        states = adapters_of(model, raw, observed, lists.wanted)
        adapters, push = await self._inquiry.adapters(model, states, lists, observed, memory)
        if placed(model, adapters, lists) != placed(model, states, lists):
            made = placing(model, self._settings, observed, weights, adapters)
            await self._applier.carry_out(model, made)
        listings = memory.front(observed).adapters.listings
        return adapter_statuses(model, adapters, ready_pods(observed), listings, lists), push

    def _cold_start(self, memory: Memory) -> Status | None:
        """Of the pod that has just ended a sleep, if one has."""
        pod = memory.awoken
        return None if pod is None else cold_start(pod, memory.own.infos.get(identity(pod)))

    async def _promotion(
        self,
        model: EmbeddingModel,
        raw: Manifest,
        weights: Weights,
        observed: Observed,
        memory: Memory,
    ) -> tuple[Promotion, float | None]:
        """What becomes of the next pods, who are asked for it, and seconds to the next look."""
        lists, pods = lists_of(model, weights, observed), observed.next.pods
        states = adapters_of(model, raw, observed, lists.wanted)
        infos, ask = await self._inquiry.infos(pods, memory.next)
        push = await self._inquiry.offer(model, states, lists, observed, memory.next, coming=True)
        without = lacking(model, states, pods, memory.next.adapters.listings, lists)
        made = promotion_of(model, weights, observed, infos, told_fingerprint(raw), without)
        return made, _soonest(ask, push)

    def _must_wait(self, observed: Observed, memory: Memory) -> bool:
        """Whether the Deployment's status does not speak of its newest spec yet, within reason."""
        if observed.deployment is None or not unseen(observed.deployment):
            memory.unseen_since = None
            return False
        now = asyncio.get_running_loop().time()
        memory.unseen_since = memory.unseen_since if memory.unseen_since is not None else now
        return now - memory.unseen_since < UNSEEN_SECONDS

    def _just_made(self, weights: Weights, observed: Observed) -> bool:
        """Whether a fetch has begun this moment: its first pod mostly has more to tell, in one write."""
        jobs = () if weights.copy else observed.jobs
        return any(
            age(job, self._clock()) < JUST_MADE and not observed.pods_of(job) for job in jobs
        )

    async def _tell_problem(self, raw: Manifest, problem: Problem) -> None:
        try:
            await self._teller.tell_problem(raw, problem)
        except ClusterError as error:
            metadata = raw["metadata"]
            raise self._failed((metadata["namespace"], metadata["name"]), error) from error

    def _failed(self, key: Key, error: Exception) -> TryAgain:
        logger.warning("%s: %s", "/".join(key), error)
        return TryAgain(str(error))


def _soonest(*looks: float | None) -> float | None:
    """Seconds to the next look, where several are wanted or none is."""
    return min((look for look in looks if look is not None), default=None)
