"""The autoscaler against another reading of the HorizontalPodAutoscaler's rules, and step by step."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest

from kubeembed_api.report import Load
from kubeembed_api.scaling import Scaling
from kubeembed_operator.autoscaler import EMPTY, Figure, Loaded, decide, proposal
from kubeembed_operator.figures import figure, idle, with_load

CALM = Figure(utilization=0, queue_seconds=0)


class Reading:
    """The documented algorithm, told as a person would: exact numbers, and the whole past kept and read.

    "Algorithm details", "Default behavior" and "Stabilization window" of the HorizontalPodAutoscaler's page.
    """

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.recommended: list[tuple[int, int]] = []
        self.counts: list[tuple[int, int]] = []

    def next(
        self,
        now: int,
        current: int,
        metrics: list[tuple[list[Fraction], Fraction]],
        absent: int,
        young: int,
    ) -> int:
        if not self.recommended:
            self.recommended.append((now, current))
        self.counts.append((now, current))
        if current < self.least:
            return self.least
        if current > self.most:
            return self.most
        asked = [
            self.by(current, values, target, absent, young) for values, target in metrics if values
        ]
        if not asked:
            return current
        self.recommended.append((now, max(asked)))
        wanted = max(asked)
        if wanted < current:  # down only as far as everything of the last 300 s allows
            wanted = min(current, max(n for at, n in self.recommended if at > now - 300))
        if wanted > current:  # up by four pods or by 100 %, whatever is more, in 15 s
            recent = [(at, n) for at, n in self.counts if at > now - 15]
            earlier = [n for at, n in self.counts if at <= now - 15]
            start = earlier[-1] if earlier else recent[0][1]
            wanted = min(wanted, max(start + 4, start * 2, current))
        return min(max(wanted, self.least), self.most)

    def by(
        self, current: int, values: list[Fraction], target: Fraction, absent: int, young: int
    ) -> int:
        average = sum(values) / len(values)
        if average > target:  # pods that say nothing, or are not ready, do nothing
            assumed = values + [Fraction(0)] * (absent + young)
        elif average < target:  # pods that say nothing do just what they should
            assumed = values + [target] * absent
        else:
            assumed = values
        usage = sum(assumed) / len(assumed)
        if abs(usage / target - 1) <= Fraction(1, 10):
            return current
        if (usage > target) != (average > target):
            return current
        wanted = math.ceil(sum(assumed) / target)
        if len(assumed) == len(values):
            return wanted
        return max(current, wanted) if average > target else min(current, wanted)


def test_a_thousand_random_traces_are_decided_as_the_documentation_has_it() -> None:
    moved = 0
    for seed in range(1000):
        source = random.Random(seed)
        least = source.randint(1, 3)
        most = source.randint(least, 12)
        scaling = Scaling.model_validate(
            {"min": least, "max": most, "target": {"utilization": 70, "queueSeconds": 0.5}}
        )
        reading, history = Reading(least, most), EMPTY
        now, replicas, load = 0, source.randint(1, 14), source.uniform(0, 4)
        for _ in range(25):
            now += source.choice((2, 2, 2, 3, 15, 40))
            if source.random() < 0.1:
                load = source.choice((0.0, 0.3, 1, 2, 4, 9))
            pods = max(1, replicas - source.choice((0, 0, 0, 1, 2)))
            absent = source.choice((0, 0, 0, 1)) if pods > 1 else 0
            young = source.choice((0, 0, 1, 2))
            told = [one(source, load, pods) for _ in range(pods - absent)]
            found, history = decide(
                scaling,
                replicas,
                Loaded(told=tuple(told), missing=absent, unready=young),
                history,
                now,
            )
            metrics = [
                ([Fraction(each.utilization) for each in told], Fraction(70)),
                ([Fraction(each.queue_seconds) for each in told], Fraction(1, 2)),
            ]
            assert found == reading.next(now, replicas, metrics, absent, young), (seed, now)
            moved += found != replicas
            replicas = found if source.random() < 0.95 else source.randint(1, 14)
    assert moved > 1500


def one(source: random.Random, load: float, pods: int) -> Figure:
    """A pod's share, in numbers that floats have exactly."""
    busy = min(1.0, load / pods) * source.choice((1, 1, 0.9, 0.5))
    waits = source.choice((0.0, 0.25, 0.5, 8.0)) if load > pods else 0.0
    return Figure(utilization=round(100 * busy), queue_seconds=waits)


@pytest.mark.parametrize(
    ("told", "missing", "unready", "expected"),
    [
        ([77, 77], 0, 0, 2),
        ([78, 78], 0, 0, 3),
        ([63, 63], 0, 0, 2),
        ([35, 35], 0, 0, 1),
        ([0, 0], 0, 0, 0),
        ([35], 1, 0, 2),
        ([100, 100], 1, 0, 3),
        ([80, 80], 1, 0, 3),
        ([100], 0, 2, 2),
        ([300], 0, 2, 5),
        ([], 2, 0, None),
    ],
    ids=[
        "within tolerance",
        "above",
        "within tolerance below",
        "half",
        "nothing",
        "one silent, others calm: it is taken to be at the target",
        "one silent, others busy: it is taken to be idle",
        "which reverses it: as it is",
        "two start already",
        "two start, and are not enough",
        "nobody says anything",
    ],
)
def test_what_a_figure_asks_for(
    told: Sequence[float], missing: int, unready: int, expected: int | None
) -> None:
    replicas = max(2, len(told) + missing)
    assert proposal(replicas, told, missing, unready, 70) == expected


def steps(scaling: dict[str, Any], loads: Sequence[Figure | None], replicas: int = 1) -> list[int]:
    """Replicas after each look, two seconds apart, of a model whose pods all tell the same."""
    history, found = EMPTY, []
    for number, load in enumerate(loads):
        loaded = Loaded(told=(load,) * replicas) if load else Loaded(missing=replicas)
        replicas, history = decide(
            Scaling.model_validate(scaling), replicas, loaded, history, 2.0 * number
        )
        found.append(replicas)
    return found


def test_up_at_once_by_four_and_then_doubled_every_fifteen_seconds() -> None:
    full = Figure(utilization=100, queue_seconds=60)
    found = steps({"min": 1, "max": 40}, [full] * 20)
    assert found == [5] * 9 + [10] * 9 + [20] * 2


def test_the_queue_asks_for_more_than_the_device() -> None:
    assert steps({"min": 1, "max": 4}, [Figure(utilization=70, queue_seconds=1.0)]) == [2]


def test_down_after_five_minutes_of_calm() -> None:
    found = steps({"min": 1, "max": 4}, [CALM] * 152, replicas=4)
    assert found == [4] * 150 + [1, 1]


def test_one_busy_moment_holds_the_number_for_five_minutes() -> None:
    busy = Figure(utilization=70, queue_seconds=0)
    found = steps({"min": 1, "max": 4}, [*[CALM] * 100, busy, *[CALM] * 150], replicas=4)
    assert found == [4] * 250 + [1]


def test_a_restart_of_the_operator_does_not_shrink_a_model() -> None:
    """With nothing remembered, the number that there is counts as recommended."""
    assert steps({"min": 1, "max": 4}, [CALM], replicas=3) == [3]


def test_silence_changes_nothing_and_bounds_hold_all_the_same() -> None:
    assert steps({"min": 1, "max": 4}, [None, None], replicas=3) == [3, 3]
    assert steps({"min": 1, "max": 2}, [None], replicas=3) == [2]
    assert steps({"min": 2, "max": 4}, [None], replicas=1) == [2]
    assert steps({"min": 0, "max": 4}, [CALM] * 152, replicas=2)[-1] == 1


def load(up: float, busy: float = 0, tokens: int = 0, **more: Any) -> Load:
    told = {"queued_tokens": 0, "in_flight": 0, "idle_seconds": 0.0, **more}
    return Load(up_seconds=up, busy_seconds=busy, tokens=tokens, **told)


def test_the_figure_of_a_pod_is_over_the_last_seconds() -> None:
    known: tuple[Load, ...] = ()
    for second in range(0, 21, 2):
        known = with_load(known, load(second, busy=second / 2, tokens=100 * second))
    assert [each.up_seconds for each in known] == [14, 16, 18, 20]
    assert figure(known) == Figure(utilization=50.0, queue_seconds=0.0)
    behind = load(22, busy=12.5, tokens=2500, queued_tokens=400)
    assert figure(with_load(known, behind)) == Figure(utilization=75.0, queue_seconds=2.0)


def test_one_word_of_a_pod_is_no_figure_and_a_restart_begins_anew() -> None:
    assert figure((load(100, busy=50),)) is None
    assert with_load((load(100, busy=50), load(102, busy=51)), load(1)) == (load(1),)


def test_a_pod_that_was_silent_for_long_is_known_by_its_last_word() -> None:
    known = with_load((load(10), load(12)), load(60, busy=24, tokens=10))
    assert figure(known) == Figure(utilization=50.0, queue_seconds=0.0)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (load(90, idle_seconds=60.0), True),
        (load(90, idle_seconds=59.9), False),
        (load(90, idle_seconds=60.0, in_flight=1), False),
        (load(90, idle_seconds=60.0, queued_tokens=1), False),
    ],
    ids=["idle", "not long enough", "a request", "a queue"],
)
def test_when_a_pod_is_idle(told: Load, expected: bool) -> None:
    assert idle(told, 60) is expected
