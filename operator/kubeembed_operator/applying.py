"""Carries a plan out: applies what is absent or differs, scales, deletes. Writes nothing for a settled model.

An object of a wanted name that somebody else made is never touched, so before one is made for the first time
its name is looked at: server-side apply would take it over without a word.
"""

import asyncio
import logging

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.names import KEDA_MANAGER, KIND, PAUSE_MANAGER, PAUSED_ANNOTATION
from kubeembed_operator.cluster import Cluster, Conflict, Refused
from kubeembed_operator.drift import difference, differs
from kubeembed_operator.kinds import (
    CLAIM,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    JOB,
    SCALED_OBJECT,
    VOLUME,
    Key,
    Kind,
    Manifest,
    key_of,
    kind_of,
)
from kubeembed_operator.manifests.deployment import pause
from kubeembed_operator.manifests.metadata import stamp
from kubeembed_operator.manifests.scaling import KEDA, asked_before, handed_to_keda, scale
from kubeembed_operator.observed import controlled_by, terminating
from kubeembed_operator.plan import Plan
from kubeembed_operator.store import Store, version_of

logger = logging.getLogger(__name__)

#: Kinds whose immutable fields (selector, template) make an apply over a stranger's object fail by itself.
GUARDED = (DEPLOYMENT, JOB)

#: A claim without our label is not watched, so it is looked at again after so many seconds.
FOREIGN_SECONDS = 60.0


class NameTaken(KubeEmbedError):
    """An object that this model does not own has a name that it needs. Says which."""


class BeingCollected(KubeEmbedError):
    """A child of an earlier model of this name is still there; garbage collection is at it."""


class Applier:
    """What has been applied is put into the store at once, so that the next pass does not do it again."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self._store = store
        self._cluster = cluster
        #: Version of objects that an apply left as they were: what differs is only spelling.
        self._equal: dict[str, int] = {}
        #: Claims that somebody else made, and until when that need not be asked again.
        self._foreign: dict[Key, float] = {}
        self._claims = asyncio.Lock()

    async def carry_out(self, model: EmbeddingModel, plan: Plan) -> None:
        """Raises NameTaken, BeingCollected, ClusterError."""
        await self._pause(model, plan.paused)
        await self._hand_over(model)
        await self._scale(model, plan.replicas)
        for kind, manifest in plan.delete:
            logger.info("%s: deleting %s", _path(manifest), kind.name)
            # KEDA's HorizontalPodAutoscaler goes first, so that nobody else writes the number afterwards.
            await self._cluster.delete(kind, manifest, foreground=kind == SCALED_OBJECT)
            if kind == ENDPOINT_SLICE:  # others take their time, and end with their event
                self._store.drop(kind, manifest)
        for manifest in plan.apply:
            own = manifest["metadata"]["name"] == model.name
            await self._one(model, manifest, plan.replicas if own else None)

    async def _one(self, model: EmbeddingModel, manifest: Manifest, replicas: int | None) -> None:
        kind = kind_of(manifest)
        if kind == VOLUME:
            await self._volume(manifest)
            return
        live = self._store.get(kind, key_of(manifest))
        if live is not None and terminating(live):
            return  # its DELETED event brings us back
        if kind == CLAIM:
            await self._claim(manifest)
        elif live is None:
            await self._make(model, kind, manifest, replicas)
        else:
            _check_owner(model, live)
            await self._keep(kind, manifest, live)

    async def _claim(self, manifest: Manifest) -> None:
        """Made where it is absent, and then the administrator's: never applied over, never deleted."""
        async with self._claims:  # many models of a namespace may want it at once
            if not await self._is_claimed(key_of(manifest)):
                logger.info("%s: making the claim", _path(manifest))
                self._store.put(CLAIM, await self._cluster.apply(manifest))

    async def _volume(self, manifest: Manifest) -> None:
        """Before its claim is made, and then the administrator's as well."""
        bound = manifest["spec"]["claimRef"]
        async with self._claims:
            if not await self._is_claimed((bound["namespace"], bound["name"])):
                await self._cluster.apply(manifest)

    async def _is_claimed(self, key: Key) -> bool:
        """Whether there is such a claim, whoever made it."""
        now = asyncio.get_running_loop().time()
        if self._store.get(CLAIM, key) is not None or self._foreign.get(key, 0.0) > now:
            return True
        if await self._cluster.peek(CLAIM, key) is None:
            return False
        self._foreign[key] = now + FOREIGN_SECONDS
        return True

    async def _make(
        self, model: EmbeddingModel, kind: Kind, manifest: Manifest, replicas: int | None
    ) -> None:
        if kind not in GUARDED:
            await self._check_name(model, kind, manifest)
        counted = kind == DEPLOYMENT and replicas is not None and replicas != 1
        if counted:
            # Applied once with the number, so that no pod is started that is not asked for.
            manifest = {**manifest, "spec": {**manifest["spec"], "replicas": replicas}}
        try:
            live = await self._cluster.apply(manifest)
        except Refused:
            await self._check_name(model, kind, manifest)
            raise
        if counted and replicas is not None:
            live = await self._cluster.scale(scale(model, replicas))
        self._store.put(kind, live)

    async def _check_name(self, model: EmbeddingModel, kind: Kind, manifest: Manifest) -> None:
        """Raises NameTaken or BeingCollected where the store knows of no such object, but there is one."""
        stranger = await self._cluster.peek(kind, key_of(manifest))
        if stranger is not None:
            _check_owner(model, {**stranger, "kind": kind.name})

    async def _keep(self, kind: Kind, manifest: Manifest, live: Manifest) -> None:
        if kind == JOB or not self._has_to_be_applied(manifest, live):
            return
        if stamp(manifest) == stamp(live):
            changed = difference(manifest, live)
            logger.info("%s: restoring %s, %s was changed", _path(live), kind.name, changed)
        applied = await self._cluster.apply(manifest)
        if version_of(applied) == version_of(live):
            self._equal[live["metadata"]["uid"]] = version_of(live)
        self._store.put(kind, applied)

    def _has_to_be_applied(self, manifest: Manifest, live: Manifest) -> bool:
        if self._equal.get(live["metadata"]["uid"]) == version_of(live):
            return stamp(manifest) != stamp(live)
        return differs(manifest, live)

    async def _pause(self, model: EmbeddingModel, paused: bool) -> None:
        """Before anything else is applied, so that a roll-out stops where it is."""
        live = self._deployment(model)
        if live is not None and _paused(live) != paused:
            logger.info("%s: roll-outs %s", _path(live), "are paused" if paused else "go on")
            made = pause(model, paused=paused)
            applied = await self._cluster.apply(made, manager=PAUSE_MANAGER)
            self._store.put(DEPLOYMENT, applied)

    async def _hand_over(self, model: EmbeddingModel) -> None:
        """Before KEDA is asked to scale, so that the number is written anew once it is not asked any more."""
        live = self._deployment(model)
        if model.spec.scaling.mode == KEDA and live is not None and asked_before(live) != KEDA:
            applied = await self._cluster.apply(handed_to_keda(model), manager=KEDA_MANAGER)
            self._store.put(DEPLOYMENT, applied)

    async def _scale(self, model: EmbeddingModel, replicas: int | None) -> None:
        """Of a Deployment that is there. Before any apply: one without the number must not take it away from
        nobody else."""
        live = self._deployment(model)
        if live is None or replicas is None:
            return
        # A number that was decided for what there was must not undo that somebody wakes the model meanwhile.
        automatic = model.spec.scaling.automatic
        version = live["metadata"]["resourceVersion"] if automatic else None
        try:
            applied = await self._cluster.scale(scale(model, replicas, version))
        except Conflict:
            return  # its event brings us back
        logger.info("%s: scaled to %s", _path(live), replicas)
        self._store.put(DEPLOYMENT, applied)

    def _deployment(self, model: EmbeddingModel) -> Manifest | None:
        """The model's own."""
        live = self._store.get(DEPLOYMENT, (model.namespace, model.name))
        if live is None or terminating(live) or not controlled_by(live, model.metadata.uid):
            return None
        return live


def _paused(deployment: Manifest) -> bool:
    """By this operator. What a person paused with kubectl is that person's."""
    return PAUSED_ANNOTATION in (deployment["metadata"].get("annotations") or {})


def _check_owner(model: EmbeddingModel, live: Manifest) -> None:
    """Raises NameTaken or BeingCollected."""
    metadata = live["metadata"]
    if controlled_by(live, model.metadata.uid):
        return
    what = f"{live['kind']} {metadata['name']}"
    owners = metadata.get("ownerReferences") or ()
    if any(owner["kind"] == KIND and owner["name"] == model.name for owner in owners):
        raise BeingCollected(f"{what} of an earlier model of this name is still being deleted")
    raise NameTaken(
        f"{what} exists and does not belong to this model: delete it, or give the model another name"
    )


def _path(manifest: Manifest) -> str:
    return "/".join(key_of(manifest))
