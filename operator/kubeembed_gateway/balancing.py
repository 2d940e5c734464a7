"""Which of a model's ready pods gets a request: the one with least to do, and those of an adapter together.

What a pod has to do is known by what this gateway has sent it: the bytes of bodies that it has not answered,
at four to a token. A pod that breaks off is left out for a while, unless all do.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from kubeembed_gateway.reading import Pod

#: Of a request, whatever its body: a query has 40 bytes, and costs a batch of its own at worst.
REQUEST_COST = 512
#: An adapter's pod is taken as long as it has no more to do than the idlest and so much: a batch's worth.
AFFINITY_SLACK = 64 * 1024

#: Seconds that a pod is left out that broke off, doubled for each further time, up to the cap.
EJECT, EJECT_CAP = 1.0, 30.0


@dataclass(slots=True)
class Load:
    """Of one pod. cost: not answered yet. out_until: of the clock."""

    cost: int = 0
    failures: int = 0
    out_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Busy:
    """A context for as long as a request is with a pod."""

    load: Load
    cost: int

    def __enter__(self) -> None:
        self.load.cost += self.cost

    def __exit__(self, *_: object) -> None:
        self.load.cost -= self.cost


class Balancer:
    """What this gateway knows of the pods."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loads: dict[Pod, Load] = {}

    def __len__(self) -> int:
        return len(self._loads)

    def pick(self, pods: Sequence[Pod], adapter: str = "", avoid: Collection[Pod] = ()) -> Pod:
        """pods: at least one. avoid: those that this request has failed on."""
        if len(pods) == 1:
            return pods[0]
        now = self._clock()
        usable = [pod for pod in pods if pod not in avoid and self._load(pod).out_until <= now]
        usable = usable or [pod for pod in pods if pod not in avoid] or list(pods)
        least = min(usable, key=lambda pod: self._load(pod).cost)
        if adapter:
            own = max(usable, key=lambda pod: _rank(adapter, pod))
            if self._load(own).cost <= self._load(least).cost + AFFINITY_SLACK:
                return own
        return least

    def busy(self, pod: Pod, size: int) -> Busy:
        """While a request of so many bytes is with the pod."""
        return Busy(self._own(pod), REQUEST_COST + size)

    def answered(self, pod: Pod) -> None:
        self._own(pod).failures = 0

    def lost(self, pod: Pod) -> None:
        """It broke off, or could not be reached."""
        load = self._own(pod)
        load.out_until = self._clock() + min(EJECT * 2 ** min(load.failures, 10), EJECT_CAP)
        load.failures += 1

    def left_out(self) -> int:
        """Pods that broke off, or could not be reached, and get nothing now while there are others."""
        now = self._clock()
        return sum(load.out_until > now for load in self._loads.values())

    def keep(self, pods: Collection[Pod]) -> None:
        """Forgets all pods but these, and those that have not answered yet."""
        self._loads = {pod: load for pod, load in self._loads.items() if load.cost or pod in pods}

    def _own(self, pod: Pod) -> Load:
        """To be changed."""
        load = self._loads.get(pod)
        if load is None:
            load = self._loads[pod] = Load()
        return load

    def _load(self, pod: Pod) -> Load:
        return self._loads.get(pod) or _NONE


_NONE = Load()


def _rank(adapter: str, pod: Pod) -> bytes:
    """Highest random weight: when a pod goes, the adapters of the others stay where they are."""
    return blake2b(f"{adapter} {pod.name}".encode(), digest_size=8).digest()
