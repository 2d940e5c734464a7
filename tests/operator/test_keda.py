"""Mode KEDA: the ScaledObject by its whole value, and when it is applied, deleted and refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.reasons import Reason
from kubeembed_operator.kinds import SCALED_OBJECT, Manifest
from kubeembed_operator.manifests.keda import scaled_object
from kubeembed_operator.manifests.metadata import stamp
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import Plan, plan
from kubeembed_operator.settings import Keda, Settings
from kubeembed_operator.supported import check_keda, refused, unsupported
from kubeembed_operator.weights import Recorded, Weights
from nodekit import ROOT

Build = Callable[..., EmbeddingModel]

URL = "http://kubeembed-operator.system.svc"
THERE = Weights(request="r", copy=Recorded(request="r", key="k", revision="c0ffee"))
DEPLOYED = Observed(deployment={"metadata": {}, "spec": {"replicas": 2}})


@pytest.fixture
def with_keda(settings: Settings) -> Settings:
    return settings.model_copy(update={"keda": Keda(url=URL)})


def scaled_objects(made: Plan) -> list[Manifest]:
    return [each for each in made.apply if each["kind"] == "ScaledObject"]


def test_the_scaled_object_says_who_is_scaled_and_where_to_ask(model: Build) -> None:
    made = scaled_object(model(scaling={"mode": "KEDA", "min": 1, "max": 4}), URL)
    metadata = made.pop("metadata")
    assert (metadata["name"], metadata["namespace"]) == ("minilm", "search")
    assert metadata["labels"]["kubeembed.dev/model"] == "minilm"
    assert metadata["labels"]["scaledobject.keda.sh/name"] == "minilm"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [model().metadata.uid]
    assert made == {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "spec": {
            "cooldownPeriod": 1,
            "maxReplicaCount": 4,
            "minReplicaCount": 1,
            "pollingInterval": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "minilm"},
            "triggers": [
                {
                    "metadata": {
                        "targetValue": "100",
                        "timeout": "10s",
                        "url": f"{URL}/load/search/minilm?utilization=70&queueSeconds=0.5",
                        "valueLocation": "load",
                    },
                    "metricType": "AverageValue",
                    "type": "metrics-api",
                }
            ],
        },
    }


def test_a_model_that_may_sleep_says_after_how_many_seconds(model: Build) -> None:
    scaling = {"mode": "KEDA", "min": 0, "max": 2, "idleAfter": "1h30m"}
    made = scaled_object(model(scaling=scaling), URL)
    [trigger] = made["spec"]["triggers"]
    assert trigger["metadata"]["url"].endswith("&idleSeconds=5400")
    assert made["spec"]["minReplicaCount"] == 0


def test_schedules_are_triggers_of_cron(model: Build) -> None:
    office = {"start": "45 7 * * 1-5", "end": "0 18 * * 1-5", "timeZone": "Europe/Berlin", "min": 2}
    scaling = {"mode": "KEDA", "min": 0, "max": 4, "schedules": [office]}
    _, cron = scaled_object(model(scaling=scaling), URL)["spec"]["triggers"]
    assert cron == {
        "metadata": {
            "desiredReplicas": "2",
            "end": "0 18 * * 1-5",
            "start": "45 7 * * 1-5",
            "timezone": "Europe/Berlin",
        },
        "metricType": "AverageValue",
        "type": "cron",
    }


@pytest.mark.parametrize(
    ("mode", "observed", "installed", "applied"),
    [
        ("KEDA", DEPLOYED, True, 1),
        ("KEDA", DEPLOYED, False, 0),
        ("KEDA", Observed(), True, 0),
        ("Builtin", DEPLOYED, True, 0),
        ("External", DEPLOYED, True, 0),
    ],
    ids=["there", "no KEDA", "no Deployment yet", "Builtin", "External"],
)
def test_it_is_applied_once_there_is_what_keda_scales(
    model: Build,
    with_keda: Settings,
    mode: str,
    observed: Observed,
    installed: bool,
    applied: int,
) -> None:
    made = plan(model(scaling={"mode": mode}), with_keda, observed, THERE, keda=installed)
    found = scaled_objects(made)
    assert len(found) == applied
    assert all(stamp(each) is not None and each is made.apply[-1] for each in found)
    assert made.replicas is None


def test_another_mode_deletes_it_once(model: Build, with_keda: Settings) -> None:
    def deleted(mode: str, **metadata: Any) -> list[Manifest]:
        there = Observed(deployment=DEPLOYED.deployment, scaled_object={"metadata": metadata})
        made = plan(model(scaling={"mode": mode}), with_keda, there, THERE, keda=True)
        return [manifest for kind, manifest in made.delete if kind == SCALED_OBJECT]

    assert deleted("Builtin", name="minilm") == [{"metadata": {"name": "minilm"}}]
    assert deleted("External", name="minilm") == [{"metadata": {"name": "minilm"}}]
    assert deleted("Builtin", deletionTimestamp="2026-11-27T12:00:00Z") == []
    assert deleted("KEDA", name="minilm") == []


def test_keda_is_for_installations_that_let_the_operator_use_it(
    model: Build, settings: Settings, with_keda: Settings
) -> None:
    by_keda = model(scaling={"mode": "KEDA"})
    assert unsupported(by_keda) is None
    check_keda(by_keda, with_keda)
    check_keda(model(), settings)
    with pytest.raises(InvalidSpec, match=r"spec\.scaling\.mode: .*keda\.enabled=true"):
        check_keda(by_keda, settings)


def test_what_keda_s_webhook_refuses_is_no_matter_of_pods(model: Build) -> None:
    answer = "apply ScaledObject: 403: admission webhook denied the request: managed by the hpa x"
    assert refused(model(), answer).reason is Reason.SCALED_OBJECT_NOT_READY
    assert refused(model(), "apply Deployment: 403: quota").reason is Reason.PODS_FORBIDDEN


def test_the_documentation_shows_the_example() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "scaling.md").read_text(), re.DOTALL)
    [shown] = [block for block in blocks if "mode: KEDA" in block]
    example = yaml.safe_load((ROOT / "examples" / "keda.yaml").read_text())
    shown_scaling, scaling = (parse(each).spec.scaling for each in (yaml.safe_load(shown), example))
    assert shown_scaling == scaling
