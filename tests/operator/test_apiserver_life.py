"""Operator processes against a real API server, controllers and node; no image has to run for it."""

import pytest

from kubeembed_api.names import LEASE
from nodekit import Kube, Manifest, at_rest, until
from operatorkit import Operators, Process, make_fetched, model, writes

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(600)]

LEGAL = {"name": "legal", "source": "hf://acme/legal"}
CHILDREN = "deploy,svc,sa,cm,job,networkpolicy,pdb"


def settled(process: Process, models: int) -> bool:
    """Whether each model has had a pass, none waits for one and none is in hand."""
    passes = process.metric("kubeembed_reconciles_total")
    return passes >= models and process.metric("kubeembed_queue_") == 0


def image(kube: Kube, name: str) -> str:
    found = kube.get("deploy", name)
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""


def test_children_edited_or_deleted_by_hand_are_restored(kube: Kube, operators: Operators) -> None:
    make_fetched(kube, model("m"))
    operators.start()
    until("the Deployment", lambda: kube.get("deploy", "m"), 60)
    kube.ctl("set", "image", "deploy/m", "runtime=evil:1")
    until("the image", lambda: image(kube, "m") == "runtime.invalid/none:1", 60)
    kube.patch("svc", "m", {"spec": {"selector": {"another": "one"}}})
    until("the selector", lambda: "another" not in kube.get("svc", "m")["spec"]["selector"], 60)
    for kind in ("deploy", "svc", "sa", "cm", "networkpolicy"):
        before = kube.get(kind, "m")["metadata"]["uid"]
        kube.ctl("delete", kind, "m", "--wait=true")
        until(
            f"another {kind}",
            lambda kind=kind, before=before: (
                (kube.get(kind, "m") or {"metadata": {"uid": before}})["metadata"]["uid"] != before
            ),
            60,
        )


def test_replicas_that_a_scaler_changed_stay_whatever_is_restored(
    kube: Kube, operators: Operators
) -> None:
    make_fetched(kube, model("m", scaling={"mode": "External", "replicas": 0}))
    operators.start()
    until("the Deployment", lambda: kube.get("deploy", "m"), 60)
    assert kube.get("deploy", "m")["spec"]["replicas"] == 0
    kube.ctl("scale", "deploy/m", "--replicas=3")
    kube.ctl("set", "image", "deploy/m", "runtime=evil:1")
    until("the image", lambda: image(kube, "m") == "runtime.invalid/none:1", 60)
    assert kube.get("deploy", "m")["spec"]["replicas"] == 3
    kube.ctl("scale", "em/m", "--replicas=2")
    until("the new number", lambda: kube.get("deploy", "m")["spec"]["replicas"] == 2, 60)


def test_a_restart_writes_nothing_for_settled_models(kube: Kube, operators: Operators) -> None:
    stopped = {"mode": "External", "replicas": 0}
    names = [f"m{number}" for number in range(20)]
    make_fetched(kube, *(model(name, scaling=stopped, adapters=[LEGAL]) for name in names))
    first = operators.start()
    until(
        "all told",
        lambda: all(kube.condition(name).get("reason") == "ScaledToZero" for name in names),
        120,
    )
    until("settled", lambda: settled(first, len(names)), 60)
    made = at_rest(lambda: writes(kube), 5)  # what a watch brings late makes a pass as well
    assert max(sum(each.endswith(f" {name}") for each in made) for name in names) <= 12
    assert first.stop() == 0
    second = operators.start("two")
    until("settled", lambda: settled(second, len(names)), 60)
    assert writes(kube) == made


def test_adapters_come_and_go_without_another_deployment(kube: Kube, operators: Operators) -> None:
    make_fetched(kube, model("m", adapters=[LEGAL]))
    operators.start()
    placed = '{"adapters":[{"name":"legal","path":"/var/cache/kubeembed/' + "1" * 32 + '"}]}'
    until("it is placed", lambda: placed_in(kube) == placed, 60)
    until("the Deployment", lambda: kube.get("deploy", "m"), 60)
    made = kube.get("deploy", "m")["metadata"]["generation"]
    kube.apply(model("m", adapters=[LEGAL, {"name": "medical", "source": "hf://acme/medical"}]))
    [job] = until("its Job", lambda: kube.list("jobs"), 60)
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["adapter", '{"name": "medical", "source": "hf://acme/medical"}']
    kube.apply(model("m"))
    until("neither", lambda: placed_in(kube) == '{"adapters":[]}' and not kube.list("jobs"), 60)
    kube.wait_reason("m", "AdaptersReady", "NoAdapters", 60)
    assert "adapterSummary" not in kube.get("em", "m")["status"]
    assert kube.get("deploy", "m")["metadata"]["generation"] == made


def placed_in(kube: Kube) -> str | None:
    """The list that a starting pod would read."""
    found = kube.get("cm", "m") or {"data": {}}
    lists = [text for key, text in found["data"].items() if key.startswith("adapters-")]
    return str(lists[0]) if lists else None


@pytest.mark.parametrize("passes", [1, 8, 20], ids=["at once", "midway", "late"])
def test_killed_while_twenty_models_are_made_it_converges(
    kube: Kube, operators: Operators, passes: int
) -> None:
    names = [f"m{number}" for number in range(20)]
    process = operators.start()
    kube.apply(*(model(name, scaling={"min": 2, "max": 2}) for name in names))
    until("some passes", lambda: process.metric("kubeembed_reconciles_total") >= passes, 60)
    process.kill()
    operators.start("two")
    until("all told", lambda: all(kube.condition(name) for name in names), 120)
    found = [
        f"{each['kind']} {each['metadata']['labels']['kubeembed.dev/model']}"
        for each in kube.get(CHILDREN, "-l", "kubeembed.dev/model")["items"]
    ]
    kinds = (
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    )
    assert sorted(found) == sorted(f"{kind} {name}" for kind in kinds for name in names)
    finalizers = [each["metadata"].get("finalizers") for each in kube.get("em")["items"]]
    assert finalizers == [None] * len(names)


def lease(kube: Kube) -> Manifest:
    return dict(kube.get("lease", LEASE)["spec"])


def test_a_killed_leader_is_followed_after_its_lease(kube: Kube, operators: Operators) -> None:
    leader = operators.start("one")
    follower = operators.start("two", leads=False)
    assert not follower.leads()
    leader.kill()
    assert lease(kube)["leaseDurationSeconds"] == 13
    kube.apply(model("m"))
    until("the other acts", lambda: kube.condition("m"), 60)


def test_a_leader_that_stops_is_followed_at_once(kube: Kube, operators: Operators) -> None:
    leader = operators.start("one")
    follower = operators.start("two", leads=False)
    assert leader.stop() == 0
    assert lease(kube).get("holderIdentity") != "one"  # so that nobody waits for its end
    until("the other leads", follower.leads, 60)


def test_an_object_of_somebody_else_is_never_touched(kube: Kube, operators: Operators) -> None:
    kube.ctl("create", "configmap", "m", "--from-literal=mine=1")
    operators.start()
    kube.apply(model("m"))
    kube.wait_reason("m", "Ready", "NameTaken", 60)
    found = kube.get("cm", "m") or {"data": {}}
    assert found["data"] == {"mine": "1"}
    assert "labels" not in found["metadata"]


def test_a_deployment_of_somebody_else_is_never_touched(kube: Kube, operators: Operators) -> None:
    kube.ctl("create", "deployment", "m", "--image=mine.invalid/none:1", "--replicas=0")
    operators.start()
    make_fetched(kube, model("m"))
    told = kube.wait_reason("m", "Ready", "NameTaken", 60)
    assert told["message"].startswith("Deployment m exists and does not belong to this model")
    assert image(kube, "m") == "mine.invalid/none:1"
    kube.ctl("delete", "deploy", "m")
    until("ours", lambda: image(kube, "m") == "runtime.invalid/none:1", 60)


def test_a_wrong_profile_is_told_and_cleared_with_the_document(
    kube: Kube, operators: Operators
) -> None:
    process = operators.start()
    kube.apply(model("m", resources={"profile": "huge"}))
    told = kube.wait_reason("m", "Ready", "InvalidSpec", 60)
    assert told["message"] == "spec.resources.profile: 'huge' is no profile here; have: cpu"
    until("settled", lambda: settled(process, 1), 60)
    kube.apply(model("m", resources={"profile": "cpu"}))
    until("another reason", lambda: kube.condition("m")["reason"] != "InvalidSpec", 60)


def test_pods_that_a_quota_forbids_are_told(kube: Kube, operators: Operators) -> None:
    kube.ctl("create", "quota", "none", "--hard=pods=0")
    until("it is in force", lambda: kube.get("quota", "none")["status"]["hard"], 60)
    operators.start()
    kube.apply(model("fetching"))
    make_fetched(kube, model("serving"))
    for name, part in (("fetching", "WeightsReady"), ("serving", "Available")):
        told = kube.wait_reason(name, part, "PodsForbidden", 60)
        assert "exceeded quota" in told["message"]
    kube.ctl("delete", "quota", "none")
    until("cleared", lambda: kube.condition("serving")["reason"] != "PodsForbidden", 200)


def test_a_model_that_is_deleted_without_an_operator_takes_its_children_along(
    kube: Kube, operators: Operators
) -> None:
    process = operators.start()
    make_fetched(kube, model("m"))
    until("the Deployment", lambda: kube.get("deploy", "m"), 60)
    process.kill()
    kube.ctl("delete", "em", "m", "--timeout=60s")
    everything = f"{CHILDREN},pod"
    until("nothing left", lambda: not kube.get(everything, "-l", "kubeembed.dev/model"), 120)
