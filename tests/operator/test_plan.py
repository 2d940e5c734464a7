"""What is to be done, as a value."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_operator.kinds import JOB, Manifest
from kubeembed_operator.manifests.metadata import stamped
from kubeembed_operator.manifests.weights import fetch_job
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import Plan, plan
from kubeembed_operator.settings import Gateway, Settings
from kubeembed_operator.supported import check_gateway, unsupported
from kubeembed_operator.weights import Recorded, Weights

Build = Callable[..., EmbeddingModel]

COMING = Weights(request="r")
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))


def kinds(found: Plan) -> list[str]:
    return [each["kind"] for each in found.apply]


def test_before_the_weights_are_there_a_job_is_wanted_and_no_deployment(
    model: Build, settings: Settings
) -> None:
    found = plan(model(), settings, Observed(), COMING)
    assert kinds(found) == [
        "ServiceAccount",
        "PersistentVolumeClaim",
        "ConfigMap",
        "Service",
        "Job",
    ]
    assert found.delete == ()


def test_once_they_are_there_a_deployment_is_wanted_and_no_job(
    model: Build, settings: Settings
) -> None:
    found = plan(model(), settings, Observed(), THERE)
    assert kinds(found)[-1] == "Deployment"
    assert "Job" not in kinds(found)


def test_while_another_revision_is_fetched_what_serves_is_left_alone(
    model: Build, settings: Settings
) -> None:
    found = plan(model(), settings, Observed(), COMING)
    assert "Deployment" not in kinds(found)
    data = next(each["data"] for each in found.apply if each["kind"] == "ConfigMap")
    assert sorted(data) == ["fetch.yaml"]


def job(model: EmbeddingModel, settings: Settings, **metadata: Any) -> Manifest:
    made = stamped(fetch_job(model, settings))
    return {**made, "metadata": {**made["metadata"], **metadata}}


def test_the_job_of_another_request_is_deleted(model: Build, settings: Settings) -> None:
    other = job(model(), settings, name="minilm-fetch-00000000")
    found = plan(model(), settings, Observed(jobs=(other,)), COMING)
    assert found.delete == ((JOB, other),)
    assert kinds(found)[-1] == "Job"


def test_a_job_that_was_made_with_other_settings_begins_anew(
    model: Build, settings: Settings
) -> None:
    old = job(model(), settings, annotations={"kubeembed.dev/applied": "old"})
    found = plan(model(), settings, Observed(jobs=(old,)), COMING)
    assert found.delete == ((JOB, old),)
    assert "Job" not in kinds(found)


def test_a_finished_job_is_left(model: Build, settings: Settings) -> None:
    old = job(model(), settings, annotations={"kubeembed.dev/applied": "old"})
    assert plan(model(), settings, Observed(jobs=(old,)), THERE).delete == ()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"model": {"source": "file:///srv/model"}}, "spec.model.source"),
        ({"model": {"source": "hf://a/b", "trustRemoteCode": True}}, "spec.model.trustRemoteCode"),
        ({"adapters": [{"name": "a", "source": "file:///srv/a"}]}, "spec.adapters[0].source"),
    ],
)
def test_what_later_versions_will_serve_is_said(
    model: Build, spec: dict[str, Any], field: str
) -> None:
    problem = unsupported(model(**spec))
    assert problem is not None
    assert problem.message.startswith(f"{field}: ")
    assert "is not supported yet; " in problem.message


def test_a_model_may_sleep_only_where_somebody_wakes_it(model: Build, settings: Settings) -> None:
    gateway = Gateway(namespace="system", labels={"app": "gateway"})
    check_gateway(model(), settings)
    check_gateway(model(scaling={"mode": "External", "min": 0}), settings)
    check_gateway(model(scaling={"min": 0}), settings.model_copy(update={"gateway": gateway}))
    with pytest.raises(InvalidSpec, match=r"spec\.scaling\.min: .*gateway\.enabled=true"):
        check_gateway(model(scaling={"min": 0}), settings)


def test_a_plain_model_is_supported(model: Build) -> None:
    assert unsupported(model()) is None


def capacity_of(found: Plan) -> int | None:
    data = next(each["data"] for each in found.apply if each["kind"] == "ConfigMap")
    told = yaml.safe_load(data["fetch.yaml"])["status"]["weights"]
    return told.get("capacity")


def test_the_fetch_is_told_the_size_of_the_claim_it_fills(model: Build, settings: Settings) -> None:
    """Of one that is watched, as it is now; of a stranger's nothing, whose disk alone says what is free."""
    there = {"metadata": {}, "data": {}}
    grown = {"spec": {"resources": {"requests": {"storage": "1Ti"}}}}
    first = plan(model(), settings, Observed(), COMING)
    assert capacity_of(first) == 100 * 2**30
    later = plan(model(), settings, Observed(config_map=there, claim=grown), COMING)
    assert capacity_of(later) == 2**40
    assert capacity_of(plan(model(), settings, Observed(config_map=there), COMING)) is None
    own = model(weights={"claim": "mine"})
    assert capacity_of(plan(own, settings, Observed(), COMING)) is None
