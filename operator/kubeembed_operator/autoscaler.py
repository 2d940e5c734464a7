"""Load of the pods -> replicas, as the HorizontalPodAutoscaler decides. A pure decision.

The rules are those of https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
with its defaults: in proportion to the target, 10 % of tolerance, the larger of two figures; at once up, at
most doubled or four more in 15 s; down to the most that was recommended in the last 300 s.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kubeembed_api.scaling import Scaling

TOLERANCE = 0.1
#: Seconds for which the highest recommendation holds the number up.
STABILIZATION = 300.0
#: In so many seconds: so many replicas more, or so many times as many, whatever is more.
PERIOD, MORE, TIMES = 15.0, 4, 2
#: Of a quotient that is a whole number but for the last bit of a float.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How loaded a pod is. utilization: per cent. queue_seconds: what waits would take so long."""

    utilization: float
    queue_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The pods of a model. missing: are ready and told nothing; unready: are not ready yet."""

    told: tuple[Figure, ...] = ()
    missing: int = 0
    unready: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was decided and seen, each with its time in seconds. Empty after a start of the operator."""

    recommended: tuple[tuple[float, int], ...] = ()
    changes: tuple[tuple[float, int], ...] = ()
    replicas: int | None = None


EMPTY = History()


def decide(
    scaling: Scaling, replicas: int, loaded: Loaded, history: History, now: float
) -> tuple[int, History]:
    """How many replicas there should be, of now so many; and what to remember."""
    history = _seen(history, replicas, now)
    if not scaling.least <= replicas <= scaling.max:
        return max(scaling.least, min(replicas, scaling.max)), history
    wanted = _recommendation(scaling, replicas, loaded)
    if wanted is None:
        return replicas, history
    history = replace(history, recommended=(*history.recommended, (now, wanted)))
    stable = wanted if wanted > replicas else min(replicas, _most_recommended(history))
    bounded = min(stable, _limit(history, replicas)) if stable > replicas else stable
    return max(scaling.least, min(bounded, scaling.max)), history


def proposal(
    replicas: int, told: Sequence[float], missing: int, unready: int, target: float
) -> int | None:
    """By one figure of the pods. None where none told it.

    Those that told nothing are taken to be at the target where the others ask for fewer, and idle where they
    ask for more; those that are not ready yet to be idle where the others ask for more.
    """
    if not told:
        return None
    ratio = sum(told) / len(told) / target
    up = ratio > 1
    filled = [0.0 if up else target] * missing if ratio != 1 else []
    known = [*told, *filled, *([0.0] * unready if up else [])]
    if len(known) == len(told):
        return replicas if _tolerable(ratio) else _ceil(sum(told) / target)
    anew = sum(known) / len(known) / target
    if _tolerable(anew) or (anew > 1) != up:
        return replicas
    wanted = _ceil(sum(known) / target)
    return max(wanted, replicas) if up else min(wanted, replicas)


def _recommendation(scaling: Scaling, replicas: int, loaded: Loaded) -> int | None:
    """Before any bound: the larger of both figures'."""
    figures = (
        ([each.utilization for each in loaded.told], float(scaling.target.utilization)),
        ([each.queue_seconds for each in loaded.told], scaling.target.queue_seconds),
    )
    proposals = [
        proposal(replicas, told, loaded.missing, loaded.unready, target) for told, target in figures
    ]
    return max((each for each in proposals if each is not None), default=None)


def _seen(history: History, replicas: int, now: float) -> History:
    """Whoever changed the number. The first that is seen counts as recommended."""
    if history.replicas is None:
        return History(recommended=((now, replicas),), replicas=replicas)
    change = replicas - history.replicas
    changes = (*history.changes, (now, change)) if change else history.changes
    return History(
        recommended=_since(history.recommended, now - STABILIZATION),
        changes=_since(changes, now - PERIOD),
        replicas=replicas,
    )


def _most_recommended(history: History) -> int:
    return max(number for _, number in history.recommended)


def _limit(history: History, replicas: int) -> int:
    """The most that there may be for what was added in the period already."""
    begin = replicas - sum(change for _, change in history.changes)
    return max(begin + MORE, begin * TIMES, replicas)


def _since(entries: Iterable[tuple[float, int]], begin: float) -> tuple[tuple[float, int], ...]:
    return tuple(entry for entry in entries if entry[0] > begin)


def _tolerable(ratio: float) -> bool:
    return abs(ratio - 1) <= TOLERANCE + ROUNDING


def _ceil(number: float) -> int:
    return math.ceil(number - ROUNDING)
