"""What a pass has to ask for, because no watch brings it: progress of a fetch, the recipe as it is served.

Answers are a help and never a need. Each comes with the seconds after which to ask again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from kubeembed_api.podreasons import Trouble, ready, shortened
from kubeembed_api.reasons import Reason
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.cluster import Cluster
from kubeembed_operator.conditions import age
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.observed import Observed
from kubeembed_operator.pods import Pods
from kubeembed_operator.status import coarse
from kubeembed_operator.weights import Weights, recorded, with_progress

#: Seconds between two looks at the progress of a fetch that runs.
PROGRESS_POLL = 4.0
#: Seconds after which a Job without a pod, or a pod without a node, is looked at again: soon while it is
#: young, and then only to be sure, because whatever changes makes an event.
STUCK_POLL, STUCK_YOUNG, STUCK_POLL_SLOW = 5.0, 30.0, 120.0
#: Seconds between two questions for a runtime's /info, and how often it is asked that fast.
INFO_POLL, INFO_TRIES, INFO_POLL_SLOW = 2.0, 5, 30.0


@dataclass(slots=True)
class Memory:
    """What is remembered of a model between passes; all of it can be lost at any time."""

    progress_written: float = float("-inf")
    unseen_since: float | None = None
    info: RuntimeInfo | None = None
    info_template: str | None = None
    info_tries: int = 0


class Inquiry:
    """Asks pods, and for a Job without pods its Events."""

    def __init__(self, pods: Pods, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._pods = pods
        self._cluster = cluster
        self._clock = clock

    async def fetch(
        self, weights: Weights, raw: Manifest, memory: Memory
    ) -> tuple[Weights, str | None, float | None]:
        """What only the pod or an Event knows of a fetch: (weights, progress, seconds to the next look)."""
        before = recorded(raw).progress
        if weights.copy is not None or weights.job is None:
            return weights, before, None
        if weights.pod is None:
            weights = await self._without_pod(weights)
            return weights, before, self._stuck_poll(weights.job)
        answer = await self._pods.progress(weights.pod)
        if answer is None:
            return weights, before, PROGRESS_POLL
        now = asyncio.get_running_loop().time()
        told = coarse(before, answer, now - memory.progress_written)
        if told != before:
            memory.progress_written = now
        return with_progress(weights, answer), told, PROGRESS_POLL

    def _stuck_poll(self, job: Manifest | None) -> float:
        young = job is not None and age(job, self._clock()) < STUCK_YOUNG
        return STUCK_POLL if young else STUCK_POLL_SLOW

    async def _without_pod(self, weights: Weights) -> Weights:
        """A Job does not say in its status why it has no pod; its Event does."""
        job = weights.job
        if job is None or weights.trouble is not None or _has_pods(job):
            return weights
        if age(job, self._clock()) < STUCK_POLL:
            return weights
        message = await self._cluster.last_event(job, "FailedCreate")
        if message is None:
            return weights
        return replace(weights, trouble=Trouble(Reason.PODS_FORBIDDEN, shortened(message)))

    async def info(
        self, observed: Observed, memory: Memory
    ) -> tuple[RuntimeInfo | None, float | None]:
        """The recipe as it is served, asked of one ready pod for each template: (info, next look)."""
        pods = [pod for pod in observed.serving_pods if ready(pod)]
        if not pods:
            return memory.info, None
        pod = max(pods, key=lambda each: str(each["metadata"].get("creationTimestamp")))
        template = pod["metadata"]["labels"].get("pod-template-hash")
        if template == memory.info_template:
            return memory.info, None
        info = await self._pods.info(pod)
        if info is None:
            memory.info_tries += 1
            return memory.info, INFO_POLL if memory.info_tries <= INFO_TRIES else INFO_POLL_SLOW
        memory.info, memory.info_template, memory.info_tries = info, template, 0
        return info, None


def _has_pods(job: Manifest) -> bool:
    return bool((job.get("status") or {}).get("active"))
