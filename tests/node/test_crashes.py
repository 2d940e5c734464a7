"""Whatever is killed while a model changes: no client gets a vector of another space than it asked for, and
what is left in the end is what the document says.

KUBEEMBED_KILLS=100 for a long run; KUBEEMBED_SEED=N, as a run prints it, for the same victims again.
"""

import os
import random
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from adapterkit import Vectors, references
from crashkit import Journal, Killer, label
from loadkit import load
from nodekit import Hub, Kube, until
from scenekit import MODELS, TEXT, Scene, Wish

KILLS = int(os.environ.get("KUBEEMBED_KILLS", "6"))
SEED = int(os.environ.get("KUBEEMBED_SEED") or random.SystemRandom().randrange(10**6))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600 + 60 * KILLS)]

RATE = 10
#: So that fetches last for seconds and can be killed: bytes per second.
SLOW = ({"path": "*/lora-*", "rate": 60_000}, {"path": "*", "rate": 30_000_000})

BOTH = ("lora-0@v2", "lora-1")
EARLIER = ("lora-0", "lora-1")
SCRIPT = (
    Wish(adapters=("lora-0",)),
    Wish(adapters=BOTH),  # one is replaced, another added
    Wish(revision="near", adapters=EARLIER),  # the base and an adapter change at once
    Wish(revision="near", replicas=2, adapters=BOTH),
    Wish(revision="near", replicas=2, pooling="cls", adapters=("lora-1",)),
    Wish(revision="near", adapters=("lora-1",)),  # the recipe is back
)


@pytest.fixture(scope="module")
def vectors(
    weights: Path, revisions: dict[str, Path], adapters: dict[str, Path]
) -> dict[str, Vectors]:
    """What TEXT has to be embedded to, by label of a vector space."""
    wanted = {name: adapters[name] for name in ("lora-0", *BOTH)}
    found = {}
    for revision, folder in (("main", weights), ("near", revisions["near"])):
        for pooling in ("mean", "cls"):
            told = references(wanted, TEXT, weights=folder, pooling=pooling)
            for name, vector in told.items():
                found[str(label(f"{revision}/{pooling}", name))] = vector
    return found


@pytest.fixture
def scene(kube: Kube, installed: Kube, hub: Hub, vectors: dict[str, Vectors]) -> Iterator[Scene]:
    """One pod without adapters, and slow sources from now on."""
    killer = Killer(kube, installed, random.Random(SEED))
    made = Scene(kube, killer, Journal(vectors), Wish())
    made.want(Wish())
    made.wait()
    made.url = kube.address("m")
    hub.faults(*SLOW)
    yield made
    hub.reset()
    killer.revive()
    installed.ctl("rollout", "status", "deployment/kubeembed-operator", "--timeout=300s")


def test_no_vector_is_wrong_and_the_end_is_as_the_document_says_whatever_is_killed(
    scene: Scene,
) -> None:
    print(f"KUBEEMBED_SEED={SEED} KUBEEMBED_KILLS={KILLS}")
    chance, journal = scene.killer.chance, scene.journal
    with load(scene.url, TEXT, MODELS, RATE) as asking:
        for number, wish in enumerate(islice(cycle(SCRIPT), KILLS), 1):
            scene.want(wish)
            time.sleep(chance.uniform(0, 4))
            killed = scene.killer.strike()
            print(f"{number}: {wish}; {killed}; {journal.counts}")
            if number % 3 == 0:
                scene.wait()
            journal.judge(asking.answers)
        scene.wait_for_the_end()
    journal.judge(asking.answers)
    assert journal.counts["200"] > RATE
    wanted = {model: {scene.wish.space(model)} for model in MODELS}
    # what is not asked for any more, a pod may lose a moment after the status
    until("each pod serves it", lambda: scene.served() == wanted, 60)
    assert all(journal.marks[mark] == space for space, mark in scene.fingerprints().items())
