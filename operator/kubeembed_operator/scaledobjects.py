"""Every five seconds: the ScaledObjects of models, what KEDA says of them, and whether there is KEDA.

In the place of a watch, because KEDA may come and go. One list, however many models; none where no model has
to do with KEDA.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import Trouble, shortened
from kubeembed_api.reasons import Reason
from kubeembed_operator.cluster import ClusterError, Missing
from kubeembed_operator.kinds import MODEL, SCALED_OBJECT, Key, Kind, Manifest, key_of
from kubeembed_operator.observed import terminating
from kubeembed_operator.store import Store, owners

logger = logging.getLogger(__name__)

PERIOD = 5.0
#: Seconds until what is amiss is told: KEDA needs some to begin, and one question that fails is no matter.
PATIENCE = 15.0

NOT_INSTALLED = (
    "KEDA is not installed: the cluster has no kind scaledobjects.keda.sh; install it, or write"
    " spec.scaling.mode Builtin. As many pods serve as there are"
)


class Lister(Protocol):
    """Who lists our objects of a kind. Raises ClusterError; Missing where there is no such kind."""

    async def ours(self, kind: Kind) -> list[Manifest]: ...


class ScaledObjects:
    """`run` keeps the store as the lists have it, and wakes models for which it became another one."""

    def __init__(self, *, store: Store, cluster: Lister, wake: Callable[[Key], None]) -> None:
        self._store = store
        self._cluster = cluster
        self._wake = wake
        self._installed: bool | None = None
        self._failed = ""
        self._amiss: dict[Key, tuple[str, float]] = {}
        self._told: dict[Key, str] = {}

    @property
    def installed(self) -> bool:
        """Whether the cluster is known to have KEDA's kinds."""
        return self._installed is True

    def trouble(self, model: EmbeddingModel) -> Trouble | None:
        """Why KEDA does not scale a model, as far as it should."""
        told = self._told.get((model.namespace, model.name))
        if told is not None:
            text = f"ScaledObject {model.name}: {told}"
            return Trouble(Reason.SCALED_OBJECT_NOT_READY, shortened(text))
        if model.spec.scaling.mode == "KEDA" and self._installed is False:
            return Trouble(Reason.KEDA_NOT_INSTALLED, NOT_INSTALLED)
        return None

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self.look(clock())
            await asyncio.sleep(PERIOD)

    async def look(self, now: float) -> None:
        """The first one in any case: an earlier operator may have left some."""
        wanted = self._models()
        if self._installed is not None and not wanted and not self._store.objects(SCALED_OBJECT):
            return
        before, installed = self._installed, True
        try:
            found = await self._cluster.ours(SCALED_OBJECT)
        except Missing:
            found, installed = [], False
        except ClusterError as error:
            self._complain(str(error))
            return
        self._failed, self._installed = "", installed
        woken = self._keep(found) | self._judge(found, now)
        for key in woken if installed == before else woken | wanted:
            self._wake(key)

    def _models(self) -> set[Key]:
        """Of mode KEDA."""
        return {
            key_of(model)
            for model in self._store.objects(MODEL)
            if ((model.get("spec") or {}).get("scaling") or {}).get("mode") == "KEDA"
        }

    def _keep(self, found: list[Manifest]) -> set[Key]:
        """The models whose objects are others than before, and those that wait until theirs is gone."""
        there = {manifest["metadata"]["uid"] for manifest in found}
        gone = [
            each
            for each in self._store.objects(SCALED_OBJECT)
            if each["metadata"]["uid"] not in there
        ]
        for manifest in gone:
            self._store.drop(SCALED_OBJECT, manifest)
        new = [each for each in found if self._store.put(SCALED_OBJECT, each) or terminating(each)]
        return {key for each in (*gone, *new) for key in owners(SCALED_OBJECT, each)}

    def _judge(self, found: list[Manifest], now: float) -> set[Key]:
        """The models of which something else is to be told than before."""
        problems = {key_of(each): problem(each) for each in found}
        self._amiss = {
            key: (text, self._since(key, now)) for key, text in problems.items() if text is not None
        }
        before = self._told
        self._told = {
            key: text for key, (text, since) in self._amiss.items() if now - since >= PATIENCE
        }
        return {
            key
            for key in before.keys() | self._told.keys()
            if before.get(key) != self._told.get(key)
        }

    def _since(self, key: Key, now: float) -> float:
        """Another word on the same trouble does not begin anew."""
        return self._amiss[key][1] if key in self._amiss else now

    def _complain(self, failure: str) -> None:
        """Once for each that is new: this comes every few seconds."""
        if failure != self._failed:
            logger.warning("cannot list ScaledObjects: %s", failure)
        self._failed = failure


def problem(scaled_object: Manifest) -> str | None:
    """What is wrong with it, in KEDA's words where it has any."""
    if terminating(scaled_object):
        return (
            "it is being deleted, and KEDA does not let it go; look at the pods of KEDA's operator"
        )
    conditions = (scaled_object.get("status") or {}).get("conditions") or ()
    told = {each["type"]: each for each in conditions}
    if not told.get("Ready", {}).get("reason"):
        return "KEDA has not looked at it; look at the pods of KEDA's operator"
    for kind in ("Ready", "HPAActive"):
        found = told.get(kind, {})
        if found.get("status") == "False":
            return f"{found.get('reason') or kind}: {found.get('message') or 'KEDA says no more'}"
    return None
