"""Deployments, settings, Pods and Leases of operators -> whether anybody looks after a model."""

from typing import Any

import pytest

from evidencekit import (
    FRESH,
    NOW,
    OLD,
    container,
    deployment,
    evidence,
    installation,
    metadata,
    model,
    pod,
)
from kubeembed_cli.diagnosis import diagnose
from kubeembed_cli.installation import put_together
from kubeembed_cli.verdict import LogOf, Subject

LATE = "Lease kubeembed-operator in system was last renewed 10 min ago"
OPERATOR = Subject("Deployment", "system", "kubeembed-operator")
LEFT = deployment("kubeembed-operator", "system", replicas=2)


def operator_pod(*containers: dict[str, Any]) -> dict[str, Any]:
    made = pod("op-1", "operator", *containers)
    return {**made, "metadata": {**made["metadata"], "namespace": "system"}}


def test_operators_are_put_together_by_namespace() -> None:
    lease = installation().lease
    settings = {
        "metadata": metadata("kubeembed-operator", "team"),
        "data": {"settings.yaml": "namespace: team\n"},
    }
    other = deployment("kubeembed-operator", "team")
    pods = [operator_pod()]
    assert lease is not None
    one, two = put_together([lease], [LEFT, other], [settings], pods)
    assert one == installation(deployment=LEFT, pods=tuple(pods))
    assert (two.namespace, two.watches, two.deployment, two.lease) == ("team", "team", other, None)


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        pytest.param({}, True, id="renewed"),
        pytest.param({"renewTime": OLD}, False, id="late"),
        pytest.param({"holderIdentity": ""}, False, id="given back"),
        pytest.param({"renewTime": "2026-01-01T11:59:35.000000Z"}, True, id="clocks differ"),
    ],
)
def test_an_operator_acts_while_its_lease_is_renewed(change: dict[str, str], runs: bool) -> None:
    spec = {"holderIdentity": "op-1", "renewTime": FRESH, "leaseDurationSeconds": 13, **change}
    assert installation(lease={"metadata": {}, "spec": spec}).runs(NOW) is runs


@pytest.mark.parametrize(
    ("found", "subject", "message", "way_out"),
    [
        pytest.param(
            [installation(OLD, deployment=deployment("kubeembed-operator", "system", 0))],
            OPERATOR,
            f"the operator is scaled to no replicas; {LATE}",
            "`kubectl -n system scale deployment/kubeembed-operator --replicas=2`",
            id="scaled down",
        ),
        pytest.param(
            [
                installation(
                    OLD,
                    deployment=LEFT,
                    pods=(operator_pod(container(waiting={"reason": "ErrImagePull"})),),
                )
            ],
            Subject("Pod", "system", "op-1"),
            f"image runtime:1 cannot be pulled: ErrImagePull; {LATE}",
            "check its name and the pull secrets of the chart (ImagePullFailed)",
            id="image",
        ),
        pytest.param(
            [installation(OLD, deployment=LEFT)],
            OPERATOR,
            f"the operator has no pods; {LATE}",
            "`kubectl -n system describe deployment/kubeembed-operator` and its pods",
            id="no pods",
        ),
        pytest.param(
            [installation(OLD, deployment=LEFT, pods=(operator_pod(container(running={})),))],
            Subject("Pod", "system", "op-1"),
            f"no operator acts; {LATE}",
            "the log below, or `kubectl -n system describe deployment/kubeembed-operator` "
            "and its pods",
            id="does not lead",
        ),
        pytest.param(
            [installation(OLD)],
            Subject("Lease", "system", "kubeembed-operator"),
            f"{LATE}, and there is no Deployment",
            "start the operator",
            id="outside",
        ),
        pytest.param(
            [],
            Subject("EmbeddingModel", "search", "minilm"),
            "the cluster has the EmbeddingModel resource and no operator",
            "`helm upgrade --install kubeembed charts/kubeembed -n kubeembed-system "
            "--create-namespace`",
            id="none",
        ),
    ],
)
def test_a_model_that_nobody_looks_after(
    found: list[Any], subject: Subject, message: str, way_out: str
) -> None:
    told = diagnose(evidence(model("Starting", "pods start"), installations=tuple(found)))
    assert (told.ready, told.reason) == (False, "OperatorNotRunning")
    assert (told.subject, told.message, told.way_out) == (subject, message, way_out)
    assert told.notes == ("status is of then: Ready=False, Starting: pods start",)


def test_the_log_of_an_operator_that_fails_is_of_its_last_run() -> None:
    again = container("operator", waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1})
    found = installation(OLD, deployment=LEFT, pods=(operator_pod(again),))
    told = diagnose(evidence(model("Starting"), installations=(found,)))
    assert told.log == LogOf("system", "op-1", "operator", previous=True)


def test_an_operator_of_another_namespace_is_none() -> None:
    told = diagnose(evidence(model("Starting"), installations=(installation(watches="team"),)))
    assert (told.reason, told.message) == (
        "NotWatched",
        "no operator looks after namespace search; those here watch only team",
    )


def test_a_model_serves_without_an_operator_and_that_is_noted() -> None:
    serves = deployment("minilm", ready=1)
    found = evidence(model("Ready", "answers"), deployment=serves, installations=())
    told = diagnose(found)
    assert (told.ready, told.reason) == (True, "Ready")
    assert told.notes[0].startswith("but nobody looks after it: ")
    gone = diagnose(evidence(model("Ready", "answers"), installations=()))
    assert (gone.ready, gone.reason) == (False, "OperatorNotRunning")


def test_who_may_not_look_at_the_operator_is_told_the_condition() -> None:
    told = diagnose(evidence(model("Starting", "pods start"), installations=None))
    assert (told.ready, told.reason) == (False, "Starting")


def test_a_model_without_a_status_and_without_an_operator_says_both() -> None:
    told = diagnose(evidence({"metadata": metadata("minilm", generation=1)}, installations=()))
    assert (told.reason, told.notes) == ("OperatorNotRunning", ("the model has no status yet",))
