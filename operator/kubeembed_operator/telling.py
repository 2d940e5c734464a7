"""What is to be said of a model -> its status and, where Ready becomes another one, an Event."""

import logging
from collections.abc import Callable
from datetime import datetime

from kubeembed_operator.cluster import Cluster, Conflict, Missing
from kubeembed_operator.condition import Condition
from kubeembed_operator.events import Recorder
from kubeembed_operator.kinds import MODEL, Manifest
from kubeembed_operator.status import Status, status_of_problem
from kubeembed_operator.store import Store
from kubeembed_operator.supported import Problem

logger = logging.getLogger(__name__)


class Teller:
    """Writes nothing that is there already. Methods raise ClusterError."""

    def __init__(
        self, store: Store, cluster: Cluster, recorder: Recorder, clock: Callable[[], datetime]
    ) -> None:
        self._store, self._cluster, self._recorder = store, cluster, recorder
        self._clock = clock

    async def tell(self, raw: Manifest, wanted: Status, ready: Condition) -> None:
        """raw: the model as it was read. ready: the first of the wanted conditions."""
        before: Status = raw.get("status") or {}
        if wanted == before:
            return
        try:
            self._store.put(MODEL, await self._cluster.apply_status(raw, wanted))
        except (Missing, Conflict):
            return  # deleted, or deleted and made anew: its event is on the way
        if ready.key not in _keys(before):
            name = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
            logger.info("%s: Ready is %s, %s", name, ready.status, ready.reason)
            self._recorder.record(raw, ready, self._clock())

    async def tell_problem(self, raw: Manifest, problem: Problem) -> None:
        """Of a document that is not acted on; what is known of its pods stays in the status."""
        generation = raw["metadata"].get("generation", 0)
        ready = Condition("Ready", "False", problem.reason, problem.message)
        before = raw.get("status") or {}
        await self.tell(raw, status_of_problem(before, problem, generation, self._clock()), ready)


def _keys(before: Status) -> set[tuple[str, str, str]]:
    return {(c["type"], c["status"], c["reason"]) for c in before.get("conditions") or ()}
