"""The ready-made profiles: rendered, read by the operator, and their pods accepted by a real API server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from kubeembed_api.document import EmbeddingModel, Resolved, parse
from kubeembed_operator.manifests.deployment import deployment
from kubeembed_operator.settings import Settings
from nodekit import ROOT, Kube, until

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]
Only = Callable[..., Manifest]

FILES = sorted(path.name for path in (ROOT / "charts/kubeembed/profiles").glob("*.yaml"))
EXPECTED = {
    "eks.yaml": {"cpu", "nvidia", "l4", "h100", "h100-slice"},
    "gke.yaml": {"cpu", "nvidia", "l4", "a100", "h100", "a100-slice", "h100-slice"},
}
#: All that a profile can say, for an installation that has these objects.
WHOLE = {
    "resources": {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "16Gi"}},
    "nodeSelector": {"gpu": "h100"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "runtimeClassName": "nvidia",
    "priorityClassName": "serving",
    "resourceClaimTemplateName": "one-gpu",
    "variant": "cuda",
    "env": {"A": "1"},
}


@pytest.fixture(scope="module")
def kube(info: dict[str, Any]) -> Iterator[Kube]:
    """A restricted namespace with the objects that WHOLE names."""
    made = Kube(info, "profiles")
    made.ctl("create", "namespace", made.namespace)
    made.ctl("label", "namespace", made.namespace, "pod-security.kubernetes.io/enforce=restricted")
    until("the default account", lambda: made.get("sa", "default"), 60)
    classes = [
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "nvidia"},
            "handler": "nvidia",
        },
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "serving"},
            "value": 1000,
        },
    ]
    made.apply(*classes)
    made.ctl("create", "serviceaccount", "m")
    yield made
    made.ctl("delete", "runtimeclass/nvidia", "priorityclass/serving", check=False)
    made.ctl("delete", "namespace", made.namespace, "--wait=false")


def settings(manifests: list[Manifest], only: Only) -> Settings:
    return Settings.parse(yaml.safe_load(only(manifests, "ConfigMap")["data"]["settings.yaml"]))


def model(profile: str) -> EmbeddingModel:
    document = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "m", "namespace": "profiles"},
        "spec": {"model": {"source": "hf://a/b"}, "resources": {"profile": profile, "count": 2}},
    }
    found = Resolved(key="0" * 32, revision="0" * 40)
    return parse(document).model_copy(update={"resolved": found})


def accepted(kube: Kube, profile: str, told: Settings) -> Manifest:
    """The pod of the profile as the API server would keep it, when both the Deployment and the pod pass."""
    made = deployment(model(profile), told)
    del made["metadata"]["ownerReferences"]  # of a model that is not there
    template = made["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "m", "namespace": "profiles", **template["metadata"]},
        "spec": template["spec"],
    }
    words = ("apply", "--server-side", "--dry-run=server", "-o", "yaml", "-f", "-")
    kube.ctl(*words, stdin=yaml.safe_dump(made))
    return dict(yaml.safe_load(kube.ctl(*words, stdin=yaml.safe_dump(pod))))


@pytest.mark.parametrize("file", FILES)
def test_every_ready_made_profile_makes_pods_that_are_accepted(
    kube: Kube, render: Render, only: Only, file: str
) -> None:
    told = settings(render({}, f"profiles/{file}"), only)
    assert set(told.profiles) == EXPECTED[file]
    for name, profile in told.profiles.items():
        spec = accepted(kube, name, told)["spec"]
        limits = spec["containers"][0]["resources"]["limits"]
        assert limits.keys() == profile.resources.limits.keys()
        assert spec.get("nodeSelector", {}) == profile.node_selector
        for device in (each for each in limits if "/" in each):
            assert limits[device] == "2"
            assert profile.image is not None
            assert profile.image.endswith("-cuda")


def test_whatever_a_profile_can_say_is_accepted(kube: Kube, render: Render, only: Only) -> None:
    told = settings(render({"profiles": {"whole": WHOLE}}), only)
    spec = accepted(kube, "whole", told)["spec"]
    assert spec["priorityClassName"] == "serving"
    assert spec["priority"] == 1000
    assert spec["runtimeClassName"] == "nvidia"
    assert [each["resourceClaimTemplateName"] for each in spec["resourceClaims"]] == ["one-gpu"] * 2
    claims = spec["containers"][0]["resources"]["claims"]
    assert claims == [{"name": "device-0"}, {"name": "device-1"}]
