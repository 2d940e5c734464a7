"""One wake per model however many requests wait, repeated while they wait and nothing has come of it.

The wake is a patch of the Deployment's scale that the API server takes only where it is 0, so several
gateways wake a model once. The operator is not needed for it.
"""

import asyncio
import logging
from collections.abc import Callable

from kubeembed_gateway.cluster import ApiError, Cluster
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.reading import Key

logger = logging.getLogger(__name__)

#: Seconds between two looks at a model that requests wait for; and while the API server does not answer.
AGAIN, AGAIN_AFTER_ERROR = 2.0, 1.0


class Waker:
    """Called with the key of a model. wanted: whether requests still wait for a pod of it."""

    def __init__(self, cluster: Cluster, metrics: Metrics, wanted: Callable[[Key], bool]) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._wanted = wanted
        self._waking: dict[Key, asyncio.Task[None]] = {}

    def __call__(self, key: Key) -> None:
        if key not in self._waking:
            name = f"wake of {'/'.join(key)}"
            self._waking[key] = asyncio.create_task(self._wake(key), name=name)

    async def close(self) -> None:
        tasks = list(self._waking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wake(self, key: Key) -> None:
        """At least once: the request that asked for it may have been turned away."""
        told = ""
        try:
            while True:
                problem = await self._try(key)
                if problem and problem != told:
                    logger.warning("model %s can't be woken: %s", "/".join(key), problem)
                told = problem
                await asyncio.sleep(AGAIN_AFTER_ERROR if problem else AGAIN)
                if not self._wanted(key):
                    return
        finally:
            del self._waking[key]

    async def _try(self, key: Key) -> str:
        """What went wrong; empty: nothing."""
        try:
            woken = await self._cluster.wake(key)
        except ApiError as error:
            return str(error)
        if woken:
            logger.info("model %s is woken", "/".join(key))
            self._metrics.wakes.labels(*key).inc()
        return ""
