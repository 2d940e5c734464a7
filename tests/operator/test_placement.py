"""Hardware, spread and disruption budgets of the pods, by whole values."""

from collections.abc import Callable
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_operator.kinds import DISRUPTION_BUDGET
from kubeembed_operator.manifests.placement import (
    disruption_budget,
    hardware,
    placement,
    strategy,
    wants_disruption_budget,
)
from kubeembed_operator.observed import Observed
from kubeembed_operator.plan import plan
from kubeembed_operator.settings import Profile, Settings, SettingsError
from kubeembed_operator.weights import Weights

Build = Callable[..., EmbeddingModel]

SELECTOR = {"app.kubernetes.io/component": "serving", "kubeembed.dev/model": "minilm"}
SPREAD = {
    "topologySpreadConstraints": [
        {
            "labelSelector": {"matchLabels": SELECTOR},
            "matchLabelKeys": ["pod-template-hash"],
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]
}


def test_a_profile_that_says_nothing_spreads_the_pods_and_no_more(model: Build) -> None:
    assert placement(model(), Profile()) == SPREAD
    assert hardware(model(), Profile()) == {}


def test_devices_by_allocation_are_claims_as_many_as_the_count(model: Build) -> None:
    profile = Profile.model_validate(
        {
            "resources": {"requests": {"cpu": "2"}},
            "resourceClaimTemplateName": "one-gpu",
            "priorityClassName": "serving",
        }
    )
    two = model(resources={"count": 2})
    assert placement(two, profile) == {
        **SPREAD,
        "priorityClassName": "serving",
        "resourceClaims": [
            {"name": "device-0", "resourceClaimTemplateName": "one-gpu"},
            {"name": "device-1", "resourceClaimTemplateName": "one-gpu"},
        ],
    }
    assert hardware(two, profile) == {
        "resources": {
            "claims": [{"name": "device-0"}, {"name": "device-1"}],
            "requests": {"cpu": "4"},
        }
    }


def test_a_slice_of_a_gpu_is_a_resource_of_its_own_name(model: Build) -> None:
    profile = Profile.model_validate({"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}})
    assert hardware(model(), profile) == {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}}


def test_a_budget_never_holds_a_drain_up(model: Build) -> None:
    assert disruption_budget(model())["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": SELECTOR},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }


@pytest.mark.parametrize(
    ("scaling", "wanted"),
    [
        ({}, False),
        ({"min": 2, "max": 2}, True),
        ({"min": 1, "max": 2}, True),
        ({"mode": "External"}, True),
        ({"mode": "External", "replicas": 1}, True),
    ],
    ids=["one", "two", "one or two", "left to others", "others may scale"],
)
def test_who_has_a_budget(
    model: Build, settings: Settings, scaling: dict[str, Any], wanted: bool
) -> None:
    budget = {"kind": "PodDisruptionBudget", "metadata": {"name": "minilm"}}
    asked = model(scaling=scaling)
    assert wants_disruption_budget(asked) is wanted
    observed = Observed(disruption_budget=budget)
    found = plan(asked, settings, observed, Weights(request="r"))
    assert ("PodDisruptionBudget" in [each["kind"] for each in found.apply]) is wanted
    assert found.delete == (() if wanted else ((DISRUPTION_BUDGET, budget),))


@pytest.mark.parametrize(
    ("rollout", "replaces", "expected"),
    [
        ({}, False, {"maxSurge": 1, "maxUnavailable": 0}),
        ({}, True, {"maxSurge": 0, "maxUnavailable": 1}),
        ({"strategy": "Recreate"}, False, None),
    ],
    ids=["surge", "replace", "recreate"],
)
def test_how_pods_make_room(
    model: Build, rollout: dict[str, str], replaces: bool, expected: dict[str, int] | None
) -> None:
    found = strategy(model(rollout=rollout), replaces=replaces)
    assert found.get("rollingUpdate") == expected
    assert found["type"] == ("Recreate" if expected is None else "RollingUpdate")


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        (
            {"resources": {"limits": {"nvidia.com/gpu": 1}}, "resourceClaimTemplateName": "gpu"},
            "nvidia.com/gpu is one way to ask for devices and resourceClaimTemplateName another",
        ),
        (
            {"resources": {"requests": {"nvidia.com/gpu": 1}}},
            "nvidia.com/gpu is counted in devices: write it under limits",
        ),
        (
            {"resources": {"limits": {"nvidia.com/gpu": "500m"}}},
            "limits.nvidia.com/gpu is a number of devices, not 500m",
        ),
        (
            {"resources": {"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}}},
            "requests.memory 4Gi is more than limits.memory 2Gi",
        ),
        ({"gpu": 1}, "profiles.bad.gpu: Extra inputs are not permitted"),
    ],
    ids=["two ways", "request alone", "half a device", "request above limit", "unknown"],
)
def test_a_profile_that_contradicts_itself_is_refused(
    profile: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.parse(
            {
                "images": {"runtime": "r:1", "control": "c:1"},
                "defaultProfile": "bad",
                "profiles": {"bad": profile},
            }
        )
    assert problem in str(refused.value)
