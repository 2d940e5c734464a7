"""Another vector space waits beside the old one, and what takes its place on a person's word."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import NEXT, PROMOTE_ANNOTATION, SERVING
from kubeembed_api.report import RuntimeInfo
from kubeembed_operator.adapterlists import Lists
from kubeembed_operator.adapters import adapters_of
from kubeembed_operator.conditions import conditions
from kubeembed_operator.kinds import DEPLOYMENT, DISRUPTION_BUDGET, SERVICE, Manifest
from kubeembed_operator.listings import Held, identity
from kubeembed_operator.manifests.adapters import adapter_request
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.manifests.placement import RECREATE, SURGE
from kubeembed_operator.manifests.serving import document
from kubeembed_operator.observed import Observed, Serving
from kubeembed_operator.plan import Plan, plan
from kubeembed_operator.promotion import NO_PROMOTION, Next, Promotion, lacking, promotion_of, space
from kubeembed_operator.promotionstatus import next_status, waits
from kubeembed_operator.settings import Settings
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
MANUAL = {"promote": "Manual"}
F_OLD, F_NEW = "a" * 32, "b" * 32


def copy(key: str) -> Weights:
    return Weights(request=key, copy=Recorded(request=key, key=key, revision=f"{key}-commit"))


OLD, NEW, OTHER, COMING = copy("old"), copy("new"), copy("other"), Weights(request="r")


def info(fingerprint: str = F_NEW) -> RuntimeInfo:
    told = {"name": "minilm", "dimensions": 384, "max_tokens": 256, "dtype": "float32"}
    return RuntimeInfo(**told, device="cpu", fingerprint=fingerprint, revision="new-commit")


@pytest.fixture
def manual(model: Build) -> Build:
    def build(promote: str | None = None, **spec: Any) -> EmbeddingModel:
        annotations = {PROMOTE_ANNOTATION: promote} if promote else None
        return model(annotations=annotations, **{"rollout": MANUAL, **spec})

    return build


def deployed(
    model: EmbeddingModel,
    weights: Weights,
    settings: Settings,
    component: str = SERVING,
    *,
    ready: int = 1,
) -> Manifest:
    """As it is in the cluster, with so many pods of the one that are asked for."""
    resolved = model.model_copy(update={"resolved": weights.resolved})
    made = stamped(deployment(resolved, settings, component))
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": ready}
    spec = {**made["spec"], "replicas": 1}
    return {**made, "spec": spec, "status": {**counts, "readyReplicas": ready}}


def pod(name: str = "new", ready: str = "True") -> Manifest:
    told = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, "uid": name}, "status": told}


def observe(
    own: Manifest | None, coming: Manifest | None = None, *, behind: str = SERVING
) -> Observed:
    there = Serving(deployment=coming, pods=(pod(),)) if coming else Serving()
    service = {"spec": {"selector": {"app.kubernetes.io/component": behind}}}
    return Observed(deployment=own, service=service, next=there)


WAITING = Promotion(next=Next.WANTED, held=True)
KEPT = Promotion(next=Next.KEPT)
SWITCHED = Promotion(next=Next.KEPT, behind=NEXT, idle=True)

#: (pods of the model's own, next pods, what the Service points at, copy of the document) -> what follows.
STATES: dict[str, tuple[Weights | None, Weights | None, str, Weights, Promotion]] = {
    "nothing serves yet": (None, None, SERVING, NEW, NO_PROMOTION),
    "nothing changed": (OLD, None, SERVING, OLD, NO_PROMOTION),
    "it is being fetched": (OLD, None, SERVING, COMING, KEPT),
    "it is fetched": (OLD, None, SERVING, NEW, WAITING),
    "it waits": (OLD, NEW, SERVING, NEW, replace(WAITING, fingerprint=F_NEW)),
    "another is being fetched": (OLD, NEW, SERVING, COMING, KEPT),
    "it is another by now": (OLD, NEW, SERVING, OTHER, WAITING),
    "it was taken back": (OLD, NEW, SERVING, OLD, NO_PROMOTION),
    "the Service is switched": (OLD, NEW, NEXT, NEW, SWITCHED),
    "its own pods are made anew": (
        NEW,
        NEW,
        NEXT,
        NEW,
        replace(SWITCHED, behind=SERVING, idle=False),
    ),
    "the Service is back": (NEW, NEW, SERVING, NEW, NO_PROMOTION),
    "changed after the switch": (
        NEW,
        NEW,
        NEXT,
        OTHER,
        Promotion(next=Next.KEPT, held=True),
    ),
    "taken back between the two": (OLD, NEW, NEXT, OLD, NO_PROMOTION),
}


@pytest.mark.parametrize(
    ("own", "coming", "behind", "wanted", "expected"), STATES.values(), ids=STATES.keys()
)
def test_what_follows_from_what_is_in_the_cluster(
    manual: Build,
    settings: Settings,
    own: Weights | None,
    coming: Weights | None,
    behind: str,
    wanted: Weights,
    expected: Promotion,
) -> None:
    document = manual()
    observed = observe(
        own and deployed(document, own, settings),
        coming and deployed(document, coming, settings, NEXT),
        behind=behind,
    )
    assert promotion_of(document, wanted, observed, [info()], F_OLD) == expected


def test_the_service_stays_with_the_next_pods_until_all_of_its_own_answer(
    manual: Build, settings: Settings
) -> None:
    document = manual()
    starting = deployed(document, NEW, settings, ready=0)
    observed = observe(starting, deployed(document, NEW, settings, NEXT), behind=NEXT)
    assert promotion_of(document, NEW, observed, [info()], F_NEW) == SWITCHED
    held = promotion_of(document, OTHER, observed, [info()], F_NEW)
    assert held == replace(SWITCHED, held=True)


@pytest.mark.parametrize(
    ("promote", "infos", "current", "without", "goes"),
    [
        (F_NEW, [info()], F_OLD, (), True),
        (None, [info()], F_OLD, (), False),
        (F_OLD, [info()], F_OLD, (), False),
        (F_NEW, [], F_OLD, (), False),
        (F_NEW, [info(), info(F_OLD)], F_OLD, (), False),
        (F_NEW, [info()], F_OLD, ("legal",), False),
        (None, [info()], F_NEW, (), True),
    ],
    ids=[
        "the word is theirs",
        "no word",
        "another's",
        "nobody has told yet",
        "they differ",
        "an adapter would be lost",
        "the space is the same after all",
    ],
)
def test_the_service_is_switched_on_the_fingerprint_of_all_next_pods(
    manual: Build,
    settings: Settings,
    promote: str | None,
    infos: list[RuntimeInfo],
    current: str,
    without: tuple[str, ...],
    goes: bool,
) -> None:
    document = manual(promote)
    coming = deployed(document, NEW, settings, NEXT)
    observed = observe(deployed(document, OLD, settings), coming)
    found = promotion_of(document, NEW, observed, infos, current, without)
    assert (found.behind == NEXT) is goes
    assert found.held


def test_next_pods_of_which_one_is_missing_are_not_promoted(
    manual: Build, settings: Settings
) -> None:
    """Golden vectors that it fails, no room, a crash: none of them gets past being ready."""
    document = manual(F_NEW)
    coming = deployed(document, NEW, settings, NEXT, ready=0)
    found = promotion_of(
        document, NEW, observe(deployed(document, OLD, settings), coming), [info()], F_OLD
    )
    assert found == WAITING


def test_a_model_that_never_served_waits_for_nobody(manual: Build, settings: Settings) -> None:
    document = manual()
    observed = observe(deployed(document, OLD, settings, ready=0))
    assert promotion_of(document, NEW, observed, (), None) == NO_PROMOTION


@pytest.mark.parametrize("rollout", [{}, {"promote": "Auto"}])
def test_auto_rolls_by_itself_and_takes_next_pods_away(
    model: Build, settings: Settings, rollout: dict[str, str]
) -> None:
    document = model(rollout=rollout)
    coming = deployed(document, NEW, settings, NEXT)
    observed = observe(deployed(document, OLD, settings), coming)
    assert promotion_of(document, NEW, observed, [info()], F_OLD) == NO_PROMOTION
    switched = observe(deployed(document, OLD, settings), coming, behind=NEXT)
    assert promotion_of(document, NEW, switched, [info()], F_NEW) == SWITCHED


@pytest.mark.parametrize("behind", [SERVING, NEXT])
def test_a_pause_stops_a_promotion_where_it_is(
    manual: Build, settings: Settings, behind: str
) -> None:
    document = manual(F_NEW, rollout={**MANUAL, "paused": True})
    coming = deployed(document, NEW, settings, NEXT)
    observed = observe(deployed(document, OLD, settings), coming, behind=behind)
    found = promotion_of(document, NEW, observed, [info()], F_OLD)
    assert found == Promotion(next=Next.KEPT, behind=behind)


def test_only_what_makes_vectors_is_another_space(manual: Build) -> None:
    def of(weights: Weights = OLD, **spec: Any) -> str:
        resolved = manual(**spec).model_copy(update={"resolved": weights.resolved})
        return space(document(resolved))

    assert of() == of(adapterOptions={"maxLoaded": 3}) == of(rollout={})
    others = [
        of(NEW),
        of(recipe={"pooling": "cls"}),
        of(recipe={"dtype": "float32"}),
        space("?: ["),
    ]
    assert len({of(), *others}) == 5


def selectors(found: Plan) -> dict[str, str]:
    return {
        each["metadata"]["name"]: each["spec"]["selector"]["app.kubernetes.io/component"]
        for each in found.apply
        if each["kind"] == "Service"
    }


def deployments(found: Plan) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in found.apply if each["kind"] == "Deployment"}


def test_next_pods_are_made_beside_the_own_ones_which_stay(
    manual: Build, settings: Settings
) -> None:
    document = manual(scaling={"mode": "External", "replicas": 3})
    own = deployed(document, OLD, settings)
    own["spec"]["replicas"] = 3
    found = plan(document, settings, observe(own), NEW, promotion=WAITING)
    assert selectors(found) == {"minilm": SERVING, "minilm-next": NEXT}
    made = deployments(found)
    assert list(made) == ["minilm-next"]
    labels = {"app.kubernetes.io/component": NEXT, "kubeembed.dev/model": "minilm"}
    spec = made["minilm-next"]["spec"]
    assert (spec["replicas"], spec["selector"]["matchLabels"]) == (3, labels)
    assert labels.items() <= spec["template"]["metadata"]["labels"].items()
    [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    budgets = [each for each in found.apply if each["kind"] == "PodDisruptionBudget"]
    assert [each["metadata"]["name"] for each in budgets] == ["minilm", "minilm-next"]
    assert budgets[1]["spec"]["selector"]["matchLabels"] == labels
    assert found.delete == ()


def test_a_model_that_sleeps_has_one_next_pod_all_the_same(
    manual: Build, settings: Settings
) -> None:
    document = manual(scaling={"mode": "External", "replicas": 0})
    own = deployed(document, OLD, settings)
    own["spec"]["replicas"] = 0
    found = plan(document, settings, observe(own), NEW, promotion=WAITING)
    assert deployments(found)["minilm-next"]["spec"]["replicas"] == 1


def test_own_pods_are_replaced_once_nobody_asks_them(manual: Build, settings: Settings) -> None:
    document = manual()
    observed = observe(
        deployed(document, OLD, settings), deployed(document, NEW, settings, NEXT), behind=NEXT
    )
    found = plan(document, settings, observed, NEW, promotion=SWITCHED)
    assert selectors(found) == {"minilm": NEXT}
    assert {name: each["spec"]["strategy"] for name, each in deployments(found).items()} == {
        "minilm": RECREATE
    }
    back = replace(SWITCHED, behind=SERVING, idle=False)
    found = plan(document, settings, observed, NEW, promotion=back)
    assert selectors(found) == {"minilm": SERVING}
    assert deployments(found)["minilm"]["spec"]["strategy"] == SURGE


def test_next_pods_go_only_once_the_service_does_not_point_at_them(
    manual: Build, settings: Settings
) -> None:
    document = manual()
    coming = deployed(document, NEW, settings, NEXT)
    there = Serving(deployment=coming, service={"kind": "s"}, disruption_budget={"kind": "b"})
    own = deployed(document, NEW, settings)
    found = plan(document, settings, replace(observe(own), next=there), NEW)
    assert found.delete == (
        (DEPLOYMENT, coming),
        (SERVICE, {"kind": "s"}),
        (DISRUPTION_BUDGET, {"kind": "b"}),
    )
    switched = replace(observe(own, behind=NEXT), next=there)
    assert plan(document, settings, switched, NEW).delete == ()


def told(model: EmbeddingModel, promotion: Promotion, observed: Observed) -> tuple[str, str]:
    found = waits(model, promotion, observed, F_OLD)
    ready = conditions(model, NEW, observed, NOW, waiting=found)[0]
    assert (ready.status == "True") is (found is None)
    return str(ready.reason), ready.message


def test_ready_says_what_waits_and_how_it_is_promoted(manual: Build, settings: Settings) -> None:
    document = manual()
    coming = deployed(document, NEW, settings, NEXT)
    observed = observe(deployed(document, OLD, settings), coming)
    waiting = replace(WAITING, fingerprint=F_NEW)
    reason, message = told(document, waiting, observed)
    assert reason == "PromotionPending"
    assert message == (
        f"http://minilm-next.search.svc answers in vector space {F_NEW}, and"
        f" http://minilm.search.svc as before in {F_OLD}. To promote it:"
        f" kubectl annotate em/minilm -n search --overwrite kubeembed.dev/promote={F_NEW}"
    )
    _, message = told(manual("soon"), waiting, observed)
    assert message.endswith("(it is 'soon' now, which is not theirs)")
    reason, message = told(document, replace(waiting, lacking=("legal",)), observed)
    assert (reason, "adapters legal" in message) == ("AdapterRefused", True)
    reason, message = told(document, WAITING, observed)
    assert (reason, message[:38]) == ("Starting", "the pods of minilm-next are starting; ")
    assert told(document, NO_PROMOTION, observed)[0] == "Ready"


def test_ready_says_why_next_pods_cannot_be_promoted(manual: Build, settings: Settings) -> None:
    word = '{"reason": "GoldenMismatch", "message": "2 of 2 golden texts are below"}'
    ended = {"terminated": {"exitCode": 1, "message": word}}
    failing = pod(ready="False")
    failing["status"]["containerStatuses"] = [{"name": "runtime", "state": ended}]
    document = manual(F_NEW)
    coming = deployed(document, NEW, settings, NEXT, ready=0)
    observed = observe(deployed(document, OLD, settings), coming)
    observed = replace(observed, next=replace(observed.next, pods=(failing,)))
    assert told(document, WAITING, observed) == (
        "GoldenMismatch",
        "minilm-next is not promoted, and minilm serves as before: 2 of 2 golden texts are below",
    )


def test_while_own_pods_are_made_anew_the_next_ones_are_what_serves(
    manual: Build, settings: Settings
) -> None:
    document = manual()
    starting = deployed(document, NEW, settings, ready=0)
    observed = observe(starting, deployed(document, NEW, settings, NEXT), behind=NEXT)
    found = {each.type: each for each in conditions(document, NEW, observed, NOW)}
    assert found["Available"].reason == "Serving"
    assert told(document, SWITCHED, observed)[0] == "Promoting"


def test_the_status_of_next_pods(manual: Build, settings: Settings) -> None:
    document = manual()
    coming = deployed(document, NEW, settings, NEXT)
    observed = observe(deployed(document, OLD, settings), coming)
    assert next_status(document, observed, [info()]) == {
        "dimensions": 384,
        "endpoint": "http://minilm-next.search.svc",
        "fingerprint": F_NEW,
        "ready": "1/1",
        "revision": "new-commit",
    }
    assert next_status(document, observed, [info(), info(F_OLD)])["fingerprint"] is None
    assert next_status(document, observe(None), []) == {}


def test_an_adapter_that_serves_and_a_next_pod_lacks_is_named(manual: Build) -> None:
    adapters = [{"name": name, "source": f"hf://acme/{name}"} for name in ("legal", "new")]
    document = manual(adapters=adapters)
    known = {
        "status": {
            "adapters": [
                {
                    "name": "legal",
                    "request": adapter_request(document, document.spec.adapters[0]),
                    "key": "k",
                }
            ]
        }
    }
    states = adapters_of(document, known, Observed(), "list")
    one, starting = pod("one"), pod("two", "False")
    has = {identity(one): {"legal": Held(path="/var/cache/kubeembed/k")}}
    assert lacking(document, states, [one, starting], has, Lists()) == ()
    assert lacking(document, states, [one], {identity(one): {}}, Lists()) == ("legal",)
    assert lacking(document, states, [one], {}, Lists()) == ("legal",)


def test_manual_of_a_recreate_is_refused(document: Callable[..., Manifest]) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.rollout\.promote: Manual keeps old and new pods"):
        parse(document(rollout={"strategy": "Recreate", "promote": "Manual"}))
