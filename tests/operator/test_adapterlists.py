"""Pods of another base have another list of adapters: none takes one that was meant for another base."""

from collections.abc import Callable
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, Resolved
from kubeembed_api.placed import read_placed
from kubeembed_operator.adapterlists import (
    Lists,
    list_files,
    list_of,
    lists_of,
    offer,
    offered,
    placed,
    takers,
)
from kubeembed_operator.adapters import AdapterCopy, AdapterState, Refusal, concluded
from kubeembed_operator.adapterstatus import adapter_statuses
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.listings import Held, identity
from kubeembed_operator.manifests.adapters import adapter_list
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.observed import Observed, Serving
from kubeembed_operator.plan import Plan, plan
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

ROOT = "/var/cache/kubeembed"
OLD, NEW = "old-base", "new-base"
#: `legal` was served on the old base in the copy k1; the document is of the new one.
CHANGED = Lists(wanted=NEW, live=OLD, kept={OLD: {"legal": f"{ROOT}/k1"}})
FIRST = AdapterCopy(request="r1", key="k1")
SECOND = AdapterCopy(request="r2", key="k2")


@pytest.fixture
def legal(model: Build) -> EmbeddingModel:
    return model(adapters=[{"name": "legal", "source": "hf://acme/legal"}])


def state(model: EmbeddingModel, **fields: Any) -> AdapterState:
    """What the document asks for is the request r2."""
    return AdapterState(adapter=model.spec.adapters[0], request="r2", **fields)


def pod(name: str, base: str, is_ready: str = "True") -> Manifest:
    metadata = {"name": name, "uid": name, "annotations": {"kubeembed.dev/adapters": base}}
    return {
        "metadata": metadata,
        "status": {"conditions": [{"type": "Ready", "status": is_ready}]},
    }


def test_a_list_is_of_weights_recipe_and_place_and_of_nothing_else(model: Build) -> None:
    def named(key: str = "k", **spec: Any) -> str:
        return adapter_list(model(**spec).model_copy(update={"resolved": Resolved(key=key)}))

    adapters = [{"name": "legal", "source": "hf://acme/legal"}]
    same = [
        named(adapters=adapters),
        named(adapterOptions={"maxLoaded": 2}),
        named(rollout={"golden": {"configMap": "g"}}),
    ]
    others = [
        named("k2"),
        named(recipe={"pooling": "cls"}),
        named(weights={"cache": "Node"}, adapters=adapters),
    ]
    assert {*same} == {named()}
    assert len({named(), *others}) == 4


def test_pods_of_an_earlier_base_are_told_what_they_had(legal: EmbeddingModel) -> None:
    told = state(legal, copy=SECOND)
    wanted = offered(legal, [told], CHANGED)
    assert wanted == {"legal": f"{ROOT}/k2"}
    assert offer(pod("a", NEW), wanted, CHANGED) == wanted
    assert offer(pod("b", OLD), wanted, CHANGED) == {"legal": f"{ROOT}/k1"}
    assert offer(pod("c", "nobody knows"), wanted, CHANGED) is None


def test_an_earlier_copy_of_another_base_is_not_placed(legal: EmbeddingModel) -> None:
    coming = state(legal, copy=FIRST)
    assert placed(legal, [coming], CHANGED) == {}
    back = Lists(wanted=OLD, live=OLD, kept=CHANGED.kept)
    assert placed(legal, [coming], back) == {"legal": f"{ROOT}/k1"}
    deleted = Lists(wanted=OLD, live=OLD)
    assert placed(legal, [coming], deleted) == {"legal": f"{ROOT}/k1"}


def test_only_pods_of_the_document_s_base_can_refuse(legal: EmbeddingModel) -> None:
    old, new, starting = pod("a", OLD), pod("b", NEW), pod("c", NEW, "False")
    observed = Observed(serving_pods=(old,), next=Serving(pods=(new, starting)))
    assert takers(observed, CHANGED) == (new,)
    assert takers(observed, Lists(live=OLD)) == ()
    candidate = state(legal, copy=FIRST, candidate=SECOND)
    [after] = concluded(legal, (candidate,), {}, observed, NEW, ())
    assert after.copy == SECOND
    assert concluded(legal, (candidate,), {}, observed, NEW, (new,)) == (candidate,)


def test_while_the_base_is_fetched_only_what_replaces_nothing_is_taken(
    legal: EmbeddingModel,
) -> None:
    added, replacing = state(legal, candidate=SECOND), state(legal, copy=FIRST, candidate=SECOND)
    [after] = concluded(legal, (added,), {}, Observed(), None, ())
    assert after.copy == SECOND
    assert concluded(legal, (replacing,), {}, Observed(), None, ()) == (replacing,)
    [told] = adapter_statuses(legal, (replacing,), (), {}, Lists(live=OLD))
    assert (told.reason, "waits for the weights" in told.message) == ("Pending", True)


def test_status_says_that_pods_of_an_earlier_base_keep_theirs(legal: EmbeddingModel) -> None:
    old = pod("a", OLD)
    listings = {identity(old): {"legal": Held(path=f"{ROOT}/k1")}}
    [told] = adapter_statuses(legal, (state(legal, copy=SECOND),), (old,), listings, CHANGED)
    assert (told.entry(1)["ready"], told.reason) == ("0/1", "Loading")
    assert told.message == "it comes with the changed model's pods; others keep what they have"


# The plan

BEFORE = Weights(request="r", copy=Recorded(request="r", key="old", revision="c0"))
AFTER = Weights(request="r", copy=Recorded(request="r", key="new", revision="c1"))


def resolved(model: EmbeddingModel, weights: Weights) -> EmbeddingModel:
    return model.model_copy(update={"resolved": weights.resolved})


def serving(model: EmbeddingModel, settings: Settings, weights: Weights, *counts: int) -> Manifest:
    """The Deployment of that copy, as far as its roll-out is: replicas, updated, available."""
    made = deployment(resolved(model, weights), settings)
    fields = ("replicas", "updatedReplicas", "availableReplicas")
    return {
        **made,
        "spec": {**made["spec"], "replicas": 1},
        "status": dict(zip(fields, counts, strict=True)),
    }


def config_map(model: EmbeddingModel, **lists: Manifest) -> Manifest:
    data = {f"adapters-{name}.json": '{"adapters":[]}' for name in lists}
    return {"metadata": {"name": model.name}, "data": data}


def files(found: Plan) -> dict[str, dict[str, str]]:
    """The lists in the ConfigMap."""
    data = next(each["data"] for each in found.apply if each["kind"] == "ConfigMap")
    return {
        key: {each.name: each.path for each in read_placed(text)}
        for key, text in data.items()
        if key.startswith("adapters-")
    }


def test_pods_of_another_base_wait_for_the_adapters_that_change_with_it(
    legal: EmbeddingModel, settings: Settings
) -> None:
    live = serving(legal, settings, BEFORE, 1, 1, 1)
    of_old, of_new = (adapter_list(resolved(legal, each)) for each in (BEFORE, AFTER))
    first = plan(legal, settings, Observed(), BEFORE, [state(legal, copy=SECOND)])
    written = next(each for each in first.apply if each["kind"] == "ConfigMap")
    observed = Observed(deployment=live, config_map=written)

    def planned(weights: Weights, **fields: Any) -> tuple[bool, dict[str, dict[str, str]]]:
        found = plan(legal, settings, observed, weights, [state(legal, **fields)])
        rolls = "Deployment" in [each["kind"] for each in found.apply]
        lists = {"old" if of_old in key else "new": told for key, told in files(found).items()}
        return rolls, lists

    kept, taken = {"legal": f"{ROOT}/k2"}, {"legal": f"{ROOT}/k3"}
    third = AdapterCopy(request="r2", key="k3")
    earlier = AdapterCopy(request="r1", key="k2")
    assert planned(AFTER, copy=earlier) == (False, {"old": kept, "new": {}})
    assert planned(AFTER, copy=earlier, candidate=third) == (False, {"old": kept, "new": {}})
    assert planned(AFTER, copy=third) == (True, {"old": kept, "new": taken})
    refused = Refusal(mark=f"r2-{of_new}", message="no")
    assert planned(AFTER, copy=earlier, refusal=refused) == (True, {"old": kept, "new": {}})
    assert planned(AFTER) == (True, {"old": kept, "new": {}})  # added: nobody misses it
    assert planned(BEFORE, copy=earlier) == (True, {"old": kept})
    assert planned(Weights(request="r"), copy=earlier) == (False, {"old": kept})


@pytest.mark.parametrize(
    ("counts", "pods", "kept"),
    [
        ((2, 1, 2), (), ["old", "wanted"]),
        ((1, 1, 0), (), ["old", "wanted"]),
        ((1, 1, 1), ("old",), ["old", "wanted"]),
        ((1, 1, 1), ("wanted",), ["wanted"]),
        ((1, 1, 1), (), ["wanted"]),
    ],
    ids=["rolls", "starts", "an old pod is left", "through", "no pod is seen"],
)
def test_a_list_is_kept_as_long_as_a_pod_may_have_to_read_it(
    legal: EmbeddingModel,
    settings: Settings,
    counts: tuple[int, int, int],
    pods: tuple[str, ...],
    kept: list[str],
) -> None:
    live = serving(legal, settings, AFTER, *counts)
    wanted = list_of(live["spec"]["template"])
    assert wanted is not None
    bases = {"old": "0ld", "wanted": wanted}
    observed = Observed(
        deployment=live,
        config_map=config_map(legal, **{name: {} for name in bases.values()}),
        serving_pods=tuple(pod("a", bases[each]) for each in pods),
    )
    lists = lists_of(legal, AFTER, observed)
    assert (lists.wanted, lists.live) == (wanted, wanted)
    found = list_files(legal, [state(legal, copy=SECOND)], lists, observed)
    assert sorted(found) == sorted(f"adapters-{bases[each]}.json" for each in kept)


def test_bases_that_were_tried_in_vain_leave_one_list_each_no_longer_than_their_pods(
    legal: EmbeddingModel, settings: Settings
) -> None:
    """Ten are tried, and the old pod serves all the time."""
    known = [state(legal, copy=SECOND)]
    old = list_of(serving(legal, settings, BEFORE, 1, 1, 1)["spec"]["template"]) or ""
    deployed = serving(legal, settings, BEFORE, 1, 1, 1)
    made = plan(legal, settings, Observed(deployment=deployed), BEFORE, known)
    counts = []
    for attempt in range(10):
        tried = Weights(request="r", copy=Recorded(request="r", key=f"k{attempt}", revision="c"))
        written = next(each for each in made.apply if each["kind"] == "ConfigMap")
        last = list_of(deployed["spec"]["template"]) or ""
        pods = (pod("a", old), *([pod("b", last, "False")] if attempt else ()))
        observed = Observed(deployment=deployed, config_map=written, serving_pods=pods)
        made = plan(legal, settings, observed, tried, known)
        wanted = f"adapters-{adapter_list(resolved(legal, tried))}.json"
        assert {wanted, f"adapters-{old}.json"} <= files(made).keys()
        counts.append(len(files(made)))
        deployed = serving(legal, settings, tried, 2, 1, 1)
    assert counts == [2, *[3] * 9]


@pytest.mark.parametrize(
    ("pods", "leaving", "count"),
    [
        (("0ld", "wanted"), (), 2),
        (("wanted", "wanted"), (), 2),
        (("wanted", "wanted"), ("third",), 3),
        (("wanted",), (), 4),
    ],
    ids=["as it was", "an old pod is lost", "one is on its way out", "a pod is not seen"],
)
def test_while_a_roll_out_is_under_way_lists_are_kept_of_what_pods_are_made_of(
    legal: EmbeddingModel,
    settings: Settings,
    pods: tuple[str, ...],
    leaving: tuple[str, ...],
    count: int,
) -> None:
    """That of the old pods, also while there is none: its Deployment makes them anew."""
    live = serving(legal, settings, AFTER, 2, 1, 1)
    wanted = list_of(live["spec"]["template"]) or ""
    names = {"wanted": wanted}
    there = config_map(legal, **{name: {} for name in ("0ld", wanted, "third", "fourth")})
    there["data"]["rolled-out-before"] = "serving 0ld"
    observed = Observed(
        deployment=live,
        config_map=there,
        serving_pods=tuple(pod(f"p{n}", names.get(one, one)) for n, one in enumerate(pods)),
        leaving=tuple(pod(f"l{n}", one) for n, one in enumerate(leaving)),
    )
    lists = lists_of(legal, AFTER, observed)
    found = list_files(legal, [state(legal, copy=SECOND)], lists, observed)
    assert len(found) == count
    assert {f"adapters-{wanted}.json", "adapters-0ld.json"} <= found.keys()
