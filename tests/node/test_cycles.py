"""Down and up, again and again, under steady requests, whoever of us is killed meanwhile: none fails.

KUBEEMBED_CYCLES=50 .venv/bin/pytest tests/node/test_cycles.py -s
goes through so many, and prints what each was like.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from nodekit import Kube, until
from sleepkit import address, apply_sleepy, leads, replicas
from steadykit import Steady

CYCLES = int(os.environ.get("KUBEEMBED_CYCLES", "2"))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 300 * CYCLES)]

BODY = {"model": "sleepy", "input": "A cat sleeps in the sun until somebody calls."}
#: In turn. The operator in half of the cycles.
KILLED = ("operator", "nobody", "operator", "gateway")


@pytest.fixture(scope="module")
def steady(shared_kube: Kube) -> Iterator[Steady]:
    """At rest, before examples/sleepy.yaml in more of a hurry."""
    apply_sleepy(shared_kube, max=1)
    with Steady(address(shared_kube), BODY) as steady:
        yield steady


def answered(steady: Steady, count: int) -> None:
    """So many more."""
    before = len(steady.vectors)
    until(f"{count} answers", lambda: len(steady.vectors) >= before + count, 120)


def kill(system: Kube, whom: str) -> None:
    """The operator without a word; one pod of the gateway, as a node that is drained does."""
    if whom == "operator":
        which = ("-l", "app.kubernetes.io/component=operator", "--force")
        system.ctl("delete", "pods", *which, "--wait=false")
    elif whom == "gateway":
        pods = system.ctl("get", "pods", "-l", "app.kubernetes.io/component=gateway", "-o", "name")
        system.ctl("delete", pods.split()[0], "--wait=false")


def cycle(kube: Kube, system: Kube, steady: Steady, whom: str, *, asleep: bool) -> None:
    """They pause until it falls asleep, or sleeps, and go on until its pod answers alone."""
    steady.rest()
    until("the gateway", lambda: leads(kube), 180)
    if asleep:
        until("no replicas", lambda: replicas(kube) == 0, 120)
    steady.go()
    kill(system, whom)
    until("the pod alone", lambda: not leads(kube) and replicas(kube) == 1, 240)
    answered(steady, 20)


def test_none_fails_down_and_up(shared_kube: Kube, installed: Kube, steady: Steady) -> None:
    steady.go()
    answered(steady, 20)
    right = np.array(steady.vectors[0])
    for number in range(CYCLES):
        before, whom = len(steady.vectors), KILLED[number % len(KILLED)]
        asleep = bool(number // len(KILLED) % 2)
        cycle(shared_kube, installed, steady, whom, asleep=asleep)
        longest = max(steady.seconds[before:])
        said = f"{len(steady.vectors) - before} answers, the longest after {longest:.1f} s"
        print(f"cycle {number + 1}, {whom} killed, {asleep=}: {said}", flush=True)
        assert steady.failures == []
    steady.rest()
    assert steady.nearest(right) > 0.9999
