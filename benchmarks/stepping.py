"""How the number of replicas follows a load that is stepped: once, eight times, once.

On the cluster that `make demo` leaves (--cluster), with the weights it fetched. Goals: up within 10 s of the
step, at most one change of direction per step, never under `min` or over `max`, no request failed.
"""

import argparse
import itertools
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kit"))


from waking import cached, cluster

from nodekit import Kube, embedding_model
from sleepkit import address, replicas
from steadykit import Steady

MODEL = "stepping"
LEAST, MOST = 1, 4
#: Requests a second of 16 texts: some 15 % of one pod on two cores, then more than one should do.
RATE, TIMES = 9.0, 8
BODY = {"model": MODEL, "input": ["A cat sleeps in the sun until somebody calls."] * 16}
SCALING = {"min": LEAST, "max": MOST, "target": {"utilization": 70}}


@dataclass
class Seen:
    """Replicas after a step. changes: (seconds after it, the number), the first at once."""

    name: str
    changes: list[tuple[float, int]] = field(default_factory=list)

    def note(self, seconds: float, number: int) -> None:
        if not self.changes or self.changes[-1][1] != number:
            self.changes.append((seconds, number))

    @property
    def turns(self) -> int:
        """Changes of direction."""
        numbers = [number for _, number in self.changes]
        ways = [after > before for before, after in itertools.pairwise(numbers)]
        return sum(after != before for before, after in itertools.pairwise(ways))

    def told(self) -> str:
        way = ", ".join(f"{number} at {seconds:.0f} s" for seconds, number in self.changes)
        within = all(LEAST <= number <= MOST for _, number in self.changes)
        return f"{self.name}: {way}; {self.turns} turns, {within=}"


def watch(kube: Kube, name: str, seconds: float) -> Seen:
    seen, begun = Seen(name), time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        seen.note(passed, replicas(kube, MODEL))
        time.sleep(0.5)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", default="kubeembed", help="of dev/cluster (%(default)s)")
    parser.add_argument("--high", type=float, default=60, help="seconds at the top (%(default)s)")
    parser.add_argument("--low", type=float, default=420, help="seconds after it (%(default)s)")
    options = parser.parse_args()
    kube = cluster(options.cluster)
    kube.apply(embedding_model(MODEL, model=cached(kube), scaling=SCALING))
    kube.wait_ready(MODEL)
    with Steady(address(kube, MODEL), BODY, RATE) as steady:
        steady.go()
        print(watch(kube, "1 x", 30).told(), flush=True)
        steady.rate = RATE * TIMES
        print(watch(kube, f"{TIMES} x", options.high).told(), flush=True)
        steady.rate = RATE
        print(watch(kube, "1 x again", options.low).told(), flush=True)
    print(f"{len(steady.vectors)} answers, {len(steady.failures)} failed {steady.failures[:3]}")
    kube.ctl("delete", "em", MODEL)


if __name__ == "__main__":
    main()
