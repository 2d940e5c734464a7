"""What a pass has to ask for, because no watch brings it: progress of a fetch, the recipe as it is served.

Answers are a help and never a need. Each comes with the seconds after which to ask again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.podreasons import Trouble, ready, shortened
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Progress, RuntimeInfo
from kubeembed_operator.adapterlists import Lists, offer, offered, takers
from kubeembed_operator.adapters import AdapterState, concluded
from kubeembed_operator.cluster import Cluster
from kubeembed_operator.fetches import has_pods
from kubeembed_operator.goldens import sent
from kubeembed_operator.kinds import CONFIG_MAP, Manifest
from kubeembed_operator.listings import Listing, identity
from kubeembed_operator.nodefetches import node_fetches, together
from kubeembed_operator.observed import Observed, age
from kubeembed_operator.pods import Pods
from kubeembed_operator.pushing import Known, push, verdicts
from kubeembed_operator.status import coarse
from kubeembed_operator.weights import WHOLE, Weights, recorded

#: Seconds between two looks at the progress of a fetch that runs.
PROGRESS_POLL = 4.0
#: Seconds after which a Job without a pod, or a pod without a node, is looked at again: soon while it is
#: young, and then only to be sure, because whatever changes makes an event.
STUCK_POLL, STUCK_YOUNG, STUCK_POLL_SLOW = 5.0, 30.0, 120.0
#: Seconds between two questions for a runtime's /info, and how often it is asked that fast.
INFO_POLL, INFO_TRIES, INFO_POLL_SLOW = 2.0, 5, 30.0


@dataclass(slots=True)
class Heard:
    """What the pods of one Deployment have told."""

    infos: dict[str, RuntimeInfo] = field(default_factory=dict)  # by identity of the pod
    tries: int = 0
    adapters: Known = field(default_factory=Known)


@dataclass(slots=True)
class Memory:
    """What is remembered of a model between passes; all of it can be lost at any time."""

    progress_written: float = float("-inf")
    unseen_since: float | None = None
    own: Heard = field(default_factory=Heard)
    next: Heard = field(default_factory=Heard)
    golden: Mapping[str, str] | None = None  # as it was read in this pass
    awoken: Manifest | None = None  # the pod that ended a sleep, until its start is told, by stage
    moved: set[str] = field(
        default_factory=set
    )  # attempts to fetch that were seen to move, by identity

    def start_told(self, pods: Sequence[Manifest]) -> None:
        """What is known of the start. pods: those that serve: the runtime may tell its stages later."""
        pod = self.awoken
        if pod is None:
            return
        there = any(identity(each) == identity(pod) for each in pods)
        if not there or identity(pod) in self.own.infos:
            self.awoken = None

    def progress(self, before: str | None, now: Progress, runs: float) -> str | None:
        """What is told of a fetch that has run for so many seconds, which is what was told before where it
        is too soon for a write: a short fetch is done before it is worth one."""
        at = asyncio.get_running_loop().time()
        told = coarse(before, now, min(runs, at - self.progress_written))
        if told != before:
            self.progress_written = at
        return told

    def outlived(self, pods: Sequence[Manifest], answers: Sequence[Progress | None]) -> bool:
        """Whether an attempt of `pods` was ever seen to move: the error of the one before is no longer true,
        and does not come back while this one checks what it has."""
        told = {identity(pod): answer for pod, answer in zip(pods, answers, strict=True)}
        now = {pod for pod, each in told.items() if each and each.bytes > 0 and each.rate > 0}
        self.moved = now | (self.moved & told.keys())
        return bool(self.moved)

    def front(self, observed: Observed) -> Heard:
        """Of the pods that answer for the model."""
        return self.next if observed.switched else self.own

    def listings(self, pods: Sequence[Manifest]) -> list[Listing]:
        """What these pods have of adapters, as far as they have told."""
        known = self.own.adapters.listings | self.next.adapters.listings
        return [known[pod] for pod in map(identity, pods) if pod in known]


class Inquiry:
    """Asks pods, and for a Job without pods its Events."""

    def __init__(self, pods: Pods, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._pods = pods
        self._cluster = cluster
        self._clock = clock

    async def golden(self, model: EmbeddingModel) -> Mapping[str, str] | None:
        """The keys of the ConfigMap of golden vectors, none where it is not there; None where the document
        names none. Raises ClusterError."""
        told = model.spec.rollout.golden
        if told is None:
            return None
        found = await self._cluster.find(CONFIG_MAP, (model.namespace, told.config_map))
        return (found or {}).get("data") or {}

    async def fetch(
        self, weights: Weights, raw: Manifest, memory: Memory
    ) -> tuple[Weights, str | None, float | None]:
        """What only the pod or an Event knows of a fetch: (weights, progress, seconds to the next look)."""
        before = recorded(raw).progress
        if weights.copy is not None or weights.job is None:
            return weights, before, None
        before = None if before == WHOLE else before  # that of the copy before this one
        if weights.pod is None:
            found = weights.trouble or await self._without_pod(weights.job)
            return replace(weights, trouble=found), before, self._stuck_poll(weights.job)
        pod, answer = weights.pod, await self._pods.progress(weights.pod)
        if memory.outlived((pod,), (answer,)):
            weights = replace(weights, trouble=None)
        if answer is None:
            return weights, before, PROGRESS_POLL
        runs = age(pod, self._clock())
        return weights, memory.progress(before, answer, runs), PROGRESS_POLL

    async def nodes(
        self, weights: Weights, observed: Observed, memory: Memory
    ) -> tuple[Weights, float | None]:
        """The Node cache: how far its copies are on all nodes together, and seconds to the next look."""
        copy, fetches = weights.copy, node_fetches(observed)
        if copy is None:
            return weights, None
        if not fetches.pods:
            told = WHOLE if fetches.done else copy.progress
            return replace(
                weights, copy=replace(copy, progress=told), trouble=fetches.trouble
            ), None
        answers = await asyncio.gather(*(self._pods.progress(pod) for pod in fetches.pods))
        runs = max(age(pod, self._clock()) for pod in fetches.pods)
        told = memory.progress(copy.progress, together(fetches, answers), runs)
        found = None if memory.outlived(fetches.pods, answers) else fetches.trouble
        return replace(weights, copy=replace(copy, progress=told), trouble=found), PROGRESS_POLL

    async def adapters(
        self,
        model: EmbeddingModel,
        states: Sequence[AdapterState],
        lists: Lists,
        observed: Observed,
        memory: Memory,
    ) -> tuple[tuple[AdapterState, ...], float | None]:
        """Tells the pods that are ready what to serve: (what is known after it, seconds to the next look)."""
        polls = [await self._stuck(state) for state in states]
        again = await self.offer(model, states, lists, observed, memory.own)
        asked = takers(observed, lists)
        heard = verdicts(offered(model, states, lists), memory.listings(asked))
        known = (state for state, _ in polls)
        after = concluded(model, known, heard, observed, lists.wanted, asked)
        waits = [again, *(poll for _, poll in polls)]
        return after, min((each for each in waits if each is not None), default=None)

    async def offer(
        self,
        model: EmbeddingModel,
        states: Sequence[AdapterState],
        lists: Lists,
        observed: Observed,
        heard: Heard,
        *,
        coming: bool = False,
    ) -> float | None:
        """Tells those of the model's pods, or of the next ones, that are ready what to serve: seconds to the
        next look."""
        wanted = offered(model, states, lists)
        pods = observed.next.pods if coming else observed.serving_pods
        offers = [(pod, offer(pod, wanted, lists)) for pod in pods if ready(pod)]
        return await push(self._pods, offers, heard.adapters, sent(model, observed, lists))

    async def _stuck(self, state: AdapterState) -> tuple[AdapterState, float | None]:
        fetch = state.fetch
        if fetch is None or fetch.report is not None or fetch.spent or fetch.pod is not None:
            return state, None
        found = fetch.trouble or await self._without_pod(fetch.job)
        return replace(state, fetch=replace(fetch, trouble=found)), self._stuck_poll(fetch.job)

    def _stuck_poll(self, job: Manifest) -> float:
        return STUCK_POLL if age(job, self._clock()) < STUCK_YOUNG else STUCK_POLL_SLOW

    async def _without_pod(self, job: Manifest) -> Trouble | None:
        """A Job does not say in its status why it has no pod; its Event does."""
        if has_pods(job) or age(job, self._clock()) < STUCK_POLL:
            return None
        message = await self._cluster.last_event(job, "FailedCreate")
        return None if message is None else Trouble(Reason.PODS_FORBIDDEN, shortened(message))

    async def infos(
        self, pods: Sequence[Manifest], heard: Heard
    ) -> tuple[tuple[RuntimeInfo, ...], float | None]:
        """The recipe as each ready pod serves it, asked of each once: (infos, seconds to the next look).

        A pod that has not answered yet is left out.
        """
        there = {identity(pod): pod for pod in pods if ready(pod)}
        known = {pod: info for pod, info in heard.infos.items() if pod in there}
        new = [pod for pod in there if pod not in known]
        answers = await asyncio.gather(*(self._pods.info(there[pod]) for pod in new))
        told = {pod: info for pod, info in zip(new, answers, strict=True) if info is not None}
        heard.infos = known | told
        heard.tries = heard.tries + 1 if None in answers else 0
        quick = heard.tries <= INFO_TRIES
        poll = (INFO_POLL if quick else INFO_POLL_SLOW) if heard.tries else None
        return tuple(heard.infos.values()), poll
