"""The last hour as this gateway saw it: each model's ready pods and its requests in hand. In memory alone.

A sample is taken at equal steps. A gateway that starts begins with an empty hour; each has one of its own.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from kubeembed_gateway.activity import Activity, Passing
from kubeembed_gateway.reading import Key
from kubeembed_gateway.table import Table

#: An hour in steps of so many seconds.
STEP_SECONDS, POINTS = 10.0, 360
#: Models that are remembered, the first that are known: 9 kB each.
MOST_MODELS = 200


def _points() -> deque[int]:
    return deque(maxlen=POINTS)


@dataclass(frozen=True, slots=True)
class Series:
    """Of one model, oldest first; all end with the last sample. in_hand, held: the most within a step."""

    pods: deque[int] = field(default_factory=_points)
    in_hand: deque[int] = field(default_factory=_points)
    held: deque[int] = field(default_factory=_points)

    def add(self, pods: int, passing: Passing) -> None:
        self.pods.append(pods)
        self.in_hand.append(passing.most_in_hand)
        self.held.append(passing.most_held)


class History:
    """`sample` at each step. until: when the last one was, in seconds since 1970; 0 before the first."""

    def __init__(
        self, table: Table, activity: Activity, clock: Callable[[], float] = time.time
    ) -> None:
        self._table = table
        self._activity = activity
        self._clock = clock
        self._series: dict[Key, Series] = {}
        self._rates: dict[Key, float] = {}
        self.until = 0.0

    def of(self, model: Key) -> Series | None:
        """None for one that is not remembered."""
        return self._series.get(model)

    def per_second(self, model: Key) -> float:
        """Requests that ended within the last step."""
        return self._rates.get(model, 0.0)

    def sample(self) -> None:
        """Of all models that there are; what is gone is forgotten."""
        models = self._table.models
        self._series = {key: each for key, each in self._series.items() if key in models}
        self._rates = {}
        self._activity.keep(models)
        for key in models:
            passing = self._activity.take(key)
            self._rates[key] = passing.ended / STEP_SECONDS
            if key not in self._series and len(self._series) < MOST_MODELS:
                self._series[key] = Series()
            if key in self._series:
                self._series[key].add(len(self._table.pods(key)), passing)
        self.until = self._clock()
