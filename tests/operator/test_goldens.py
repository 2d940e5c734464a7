"""What pods are held to: the vectors that the operator read, from a roll-out's begin until the next one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.golden import digests
from kubeembed_operator.adapterlists import Lists
from kubeembed_operator.goldens import POLL, look_in, sent, serving_deployment
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.observed import Observed, Serving
from kubeembed_operator.plan import plan
from kubeembed_operator.rolledout import (
    RolledOut,
    is_through,
    rolled_out,
    rolled_out_keys,
    template_name,
)
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

OLD = Weights(request="r", copy=Recorded(request="r", key="old", revision="c0"))
NEW = Weights(request="r", copy=Recorded(request="r", key="new", revision="c1"))
FIRST, SECOND = {"golden.jsonl": "one"}, {"golden.jsonl": "two"}
MIXED = {"golden.jsonl": "one", "golden.legal.jsonl": "legal"}


@pytest.fixture
def held(model: Build) -> EmbeddingModel:
    return model(rollout={"golden": {"configMap": "mine", "minCosine": 0.99}})


def at(made: Manifest, *counts: int, replicas: int = 1) -> Manifest:
    """As far as its roll-out is: replicas, updated, available."""
    fields = ("replicas", "updatedReplicas", "availableReplicas")
    spec = {**made["spec"], "replicas": replicas}
    return {**made, "spec": spec, "status": dict(zip(fields, counts, strict=True))}


THROUGH, STUCK = (1, 1, 1), (2, 1, 1)


class World:
    """The Deployment and the ConfigMap of a model, as one plan after another makes them."""

    def __init__(self, model: EmbeddingModel, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.observed = Observed(golden=FIRST)
        self.weights = OLD

    def plan(self, *counts: int, **observed: Any) -> str:
        """The name of the template after a pass, and as far as its roll-out is then."""
        self.observed = replace(self.observed, **observed)
        made = plan(self.model, self.settings, self.observed, self.weights)
        by_kind = {each["kind"]: each for each in made.apply}
        deployment = at(by_kind["Deployment"], *counts)
        found = {"deployment": deployment, "config_map": by_kind["ConfigMap"]}
        self.observed = replace(self.observed, **found)
        return template_name(deployment)

    @property
    def marks(self) -> list[str]:
        data = self.observed.config_map["data"] if self.observed.config_map else {}
        return sorted(key for key in data if key.startswith("rolled-out-"))


@pytest.fixture
def world(held: EmbeddingModel, settings: Settings) -> World:
    """One that serves, and is held to FIRST."""
    made = World(held, settings)
    name = made.plan(*THROUGH)
    assert (made.plan(*THROUGH), made.marks) == (name, [f"rolled-out-{name}"])
    return made


def test_a_config_map_that_is_written_anew_alone_changes_no_pod(world: World) -> None:
    before = world.observed
    name = template_name(before.deployment or {})
    assert world.plan(*THROUGH, golden=SECOND) == name
    assert world.plan(*THROUGH, golden={}) == name
    assert stamped(world.observed.config_map or {}) == stamped(before.config_map or {})
    assert look_in(world.observed) is None


def test_the_next_roll_out_is_held_to_what_it_holds_then_and_the_old_pods_are_not(
    world: World,
) -> None:
    old = template_name(world.observed.deployment or {})
    world.weights = NEW
    new = world.plan(*STUCK, golden=SECOND)
    args = (world.observed.deployment or {})["spec"]["template"]["spec"]["containers"][0]["args"]
    read = digests(SECOND)
    assert args[args.index("--golden-digests") + 1 :][:2] == [read.base, read.every]
    assert (new == old, world.marks) == (False, [f"rolled-out-{old}"])


def test_a_roll_out_that_does_not_go_on_is_held_to_what_is_written_meanwhile(world: World) -> None:
    world.weights = NEW
    first = world.plan(*STUCK)
    assert world.plan(*STUCK) == first
    assert look_in(world.observed) == POLL
    corrected = world.plan(*THROUGH, golden=SECOND)
    assert corrected != first
    assert world.plan(*THROUGH, golden=FIRST) == corrected
    assert world.marks == [f"rolled-out-{corrected}"]


def test_a_change_that_is_taken_back_makes_no_new_pods_whatever_the_vectors_are_by_then(
    world: World,
) -> None:
    name = template_name(world.observed.deployment or {})
    world.weights = NEW
    world.plan(*STUCK)
    world.weights = OLD
    assert world.plan(*THROUGH, golden=SECOND) == name


def test_what_sleeps_or_lacks_a_pod_keeps_what_it_was_rolled_out_with(world: World) -> None:
    deployment = world.observed.deployment or {}
    name = template_name(deployment)
    for live in (at(deployment, 0, 0, 0, replicas=0), at(deployment, 3, 3, 2, replicas=3)):
        observed = replace(world.observed, deployment=live, golden=SECOND)
        assert is_through(live, observed)
        assert [*rolled_out(observed)] == [name]
    asleep = at(deployment, 0, 0, 0, replicas=0)
    assert not is_through(asleep, replace(world.observed, deployment=asleep, config_map=None))


def test_own_and_next_pods_are_remembered_apart_and_no_longer_than_they_are_there(
    world: World, held: EmbeddingModel, settings: Settings
) -> None:
    resolved = held.model_copy(update={"resolved": NEW.resolved})
    coming = at(serving_deployment(resolved, settings, Observed(golden=SECOND), "next"), *THROUGH)
    with_next = replace(world.observed, next=Serving(deployment=coming))
    told = rolled_out(with_next)
    list_of_next = coming["spec"]["template"]["metadata"]["annotations"]["kubeembed.dev/adapters"]
    assert told[template_name(coming)] == RolledOut(
        component="next", adapters=list_of_next, golden=digests(SECOND)
    )
    assert len(told) == 2
    written = {"metadata": {}, "data": rolled_out_keys(with_next)}
    waits = replace(with_next, config_map=written, golden=FIRST)
    waits = replace(waits, next=Serving(deployment=at(coming, *STUCK)))
    assert rolled_out(waits) == told
    assert (
        serving_deployment(resolved, settings, waits, "next")["spec"]["template"]
        == (coming["spec"]["template"])
    )
    assert len(rolled_out(replace(waits, next=Serving()))) == 1


@pytest.mark.parametrize("value", ["", "serving", "serving list one", "serving a b c d e"])
def test_what_somebody_wrote_by_hand_is_passed_over(world: World, value: str) -> None:
    config_map = {"metadata": {}, "data": {"rolled-out-x": value}}
    deployment = at(world.observed.deployment or {}, *STUCK)
    observed = replace(world.observed, config_map=config_map, deployment=deployment)
    assert all(told.golden is None for told in rolled_out(observed).values())
    assert not is_through(deployment, observed)


def pod(base: str) -> Manifest:
    return {"metadata": {"name": base, "annotations": {"kubeembed.dev/adapters": base}}}


def test_an_adapter_is_sent_with_its_vectors_to_pods_of_the_base_that_these_are_of(
    held: EmbeddingModel, model: Build
) -> None:
    golden = sent(held, Observed(golden=MIXED), Lists(wanted="new", live="old"))
    assert golden(pod("new"), "legal") == {"lines": "legal", "minCosine": 0.99}
    assert golden(pod("new"), "tax") == {"lines": "", "minCosine": 0.99}
    assert golden(pod("old"), "legal") == {"lines": "", "minCosine": 0.99}
    assert sent(model(), Observed(), Lists(wanted="new"))(pod("new"), "legal") is None


def test_a_key_that_is_empty_is_not_sent_as_if_there_were_none(held: EmbeddingModel) -> None:
    golden = sent(held, Observed(golden={**MIXED, "golden.legal.jsonl": ""}), Lists(wanted="new"))
    assert golden(pod("new"), "legal") == {"lines": "\n", "minCosine": 0.99}


def test_a_model_without_golden_vectors_is_not_looked_at_for_them(
    model: Build, settings: Settings
) -> None:
    made = World(model(), settings)
    made.observed = Observed()
    made.plan(*STUCK)
    assert look_in(made.observed) is None
