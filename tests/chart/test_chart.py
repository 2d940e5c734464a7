"""What the chart installs, as whole values where that is what counts: rights, settings, security."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartkit import restricted
from kubeembed_operator.settings import Gateway, Keda, Settings
from nodekit import ROOT

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]
Only = Callable[..., Manifest]
Render = Callable[..., list[Manifest]]

CHART = ROOT / "charts" / "kubeembed"
PROFILES = sorted(path.name for path in (CHART / "profiles").glob("*.yaml"))

APPLIED = ["list", "watch", "create", "patch"]
RIGHTS = [
    (["kubeembed.dev"], ["embeddingmodels"], ["list", "watch"]),
    (["kubeembed.dev"], ["embeddingmodels/status"], ["patch"]),
    (["apps"], ["deployments"], [*APPLIED, "delete"]),
    ([""], ["configmaps", "persistentvolumeclaims", "serviceaccounts"], APPLIED),
    ([""], ["services"], [*APPLIED, "delete"]),
    (["batch"], ["jobs"], [*APPLIED, "delete"]),
    (["networking.k8s.io"], ["networkpolicies"], APPLIED),
    (["policy"], ["poddisruptionbudgets"], [*APPLIED, "delete"]),
    (["discovery.k8s.io"], ["endpointslices"], [*APPLIED, "delete"]),
    ([""], ["pods"], ["list", "watch"]),
    (["events.k8s.io"], ["events"], ["create"]),
    ([""], ["events"], ["list"]),
]
#: The operator's pods, to the NetworkPolicies of the models.
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "system"}},
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/component": "operator",
            "app.kubernetes.io/instance": "kubeembed",
            "app.kubernetes.io/name": "kubeembed",
        }
    },
}
#: Its pods, as the operator is told of them.
GATEWAY = Gateway(
    namespace="system",
    labels={
        "app.kubernetes.io/component": "gateway",
        "app.kubernetes.io/instance": "kubeembed",
        "app.kubernetes.io/name": "kubeembed",
    },
)
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def settings(manifests: list[Manifest], only: Only) -> Settings:
    """As the operator reads them."""
    return Settings.parse(yaml.safe_load(only(manifests, "ConfigMap")["data"]["settings.yaml"]))


def rules(role: Manifest) -> list[tuple[list[str], list[str], list[str]]]:
    return [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role["rules"]]


def kinds(manifests: list[Manifest]) -> list[str]:
    return sorted(each["kind"] for each in manifests)


@pytest.mark.parametrize("file", ["values.yaml", *(f"profiles/{name}" for name in PROFILES)])
def test_lints(helm: Callable[..., Any], file: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", CHART / file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installs_these_kinds_by_default(render: Render) -> None:
    assert kinds(render()) == [
        *["ClusterRole"] * 2,
        *["ClusterRoleBinding"] * 2,
        "ConfigMap",
        "CustomResourceDefinition",
        *["Deployment"] * 2,
        *["PodDisruptionBudget"] * 2,
        "Role",
        "RoleBinding",
        "Service",
        *["ServiceAccount"] * 2,
    ]


def test_operator_may_do_what_it_does_and_nothing_else(render: Render, only: Only) -> None:
    manifests = render()
    assert rules(only(manifests, "ClusterRole")) == RIGHTS
    lease = only(manifests, "Role")
    assert lease["metadata"]["namespace"] == "system"
    assert lease["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["kubeembed-operator"],
            "verbs": ["get", "update"],
        },
    ]


def test_one_namespace_needs_no_right_of_the_cluster(render: Render, only: Only) -> None:
    values = {"watchNamespace": "search", "gateway": {"enabled": False}}
    manifests = render(values)
    assert not {"ClusterRole", "ClusterRoleBinding"} & set(kinds(manifests))
    roles = {each["metadata"]["namespace"]: each for each in manifests if each["kind"] == "Role"}
    bound = {m["metadata"]["namespace"]: m for m in manifests if m["kind"] == "RoleBinding"}
    assert sorted(roles) == sorted(bound) == ["search", "system"]
    looks = (["discovery.k8s.io"], ["endpointslices"], ["list", "watch"])
    assert rules(roles["search"]) == [looks if "endpointslices" in r[1] else r for r in RIGHTS]
    assert bound["search"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "kubeembed-operator", "namespace": "system"}
    ]
    assert settings(manifests, only).namespace == "search"


def test_with_the_gateway_the_operator_leads_services_to_it(render: Render, only: Only) -> None:
    manifests = render({"watchNamespace": "search"})
    roles = {
        each["metadata"]["namespace"]: rules(each)
        for each in manifests
        if each["kind"] == "Role" and "operator" in each["metadata"]["name"]
    }
    assert roles["search"] == RIGHTS
    assert ([""], ["pods"], ["list"]) in roles["system"]
    assert settings(manifests, only).gateway == GATEWAY


def test_with_keda_the_operator_makes_scaled_objects_and_can_be_asked(
    render: Render, only: Only
) -> None:
    assert settings(render(), only).keda is None
    manifests = render({"keda": {"enabled": True}})
    assert rules(only(manifests, "ClusterRole")) == [
        *RIGHTS,
        (["keda.sh"], ["scaledobjects"], ["list", "create", "patch", "delete"]),
    ]
    service = only(manifests, "Service")
    assert settings(manifests, only).keda == Keda(
        url=f"http://{service['metadata']['name']}.system.svc"
    )
    chosen = only(manifests, "Deployment")["spec"]["selector"]["matchLabels"]
    assert service["spec"] == {
        "type": "ClusterIP",
        "selector": chosen,
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }


def test_operator_meets_the_restricted_pod_security_level(render: Render, only: Only) -> None:
    pod = only(render(), "Deployment")["spec"]["template"]["spec"]
    restricted(pod)
    assert {kind for volume in pod["volumes"] for kind in volume} == {
        "name",
        "configMap",
        "emptyDir",
    }


def test_operator_reads_the_settings_that_the_values_say(render: Render, only: Only) -> None:
    values = {
        "images": {
            "control": "registry.example/control:1",
            "runtime": "registry.example/runtime:1",
            "pullPolicy": "Always",
            "pullSecrets": ["registry"],
        },
        "defaultProfile": "t4",
        "profiles": {
            "cpu": None,
            "nvidia": None,
            "t4": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        },
        "weights": {"size": "1Ti", "storageClassName": "nfs", "hubEndpoint": "http://mirror"},
    }
    manifests = render(values)
    assert settings(manifests, only) == Settings.parse(
        {
            **values,
            "adminFrom": [OPERATOR],
            "gateway": GATEWAY.model_dump(by_alias=True),
            "profiles": {
                "t4": {
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                    "image": "registry.example/runtime:1",
                }
            },
        }
    )
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/control:1"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize("name", PROFILES)
def test_ready_made_profiles_get_the_image_with_cuda(render: Render, only: Only, name: str) -> None:
    found = settings(render({}, f"profiles/{name}"), only)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert {"cpu", "l4", "h100"} <= set(found.profiles)
    for profile, hardware in found.profiles.items():
        cuda = None if profile == "cpu" else f"kubeembed/runtime:{version}-cuda"
        assert hardware.image == cuda


@pytest.mark.parametrize(
    ("profile", "image"),
    [
        ({"resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}, "kubeembed/runtime:{}-cuda"),
        ({"resourceClaimTemplateName": "gpu", "variant": "cuda"}, "kubeembed/runtime:{}-cuda"),
        ({"resourceClaimTemplateName": "gpu", "image": "mine:1"}, "mine:1"),
        ({"variant": "cpu"}, None),
    ],
    ids=["slice", "devices by allocation", "image of one's own", "cpu"],
)
def test_a_profile_gets_the_image_of_its_variant(
    render: Render, only: Only, profile: Manifest, image: str | None
) -> None:
    found = settings(render({"profiles": {"mine": profile}}), only).profiles["mine"]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert found.image == (image and image.format(version))
    assert found.resource_claim_template_name == profile.get("resourceClaimTemplateName")


def test_prometheus_reaches_the_admin_ports_where_the_values_say_so(
    render: Render, only: Only
) -> None:
    assert settings(render(), only).admin_from == (OPERATOR,)
    told = settings(render({"metrics": {"allowFrom": [PROMETHEUS]}}), only)
    assert told.admin_from == (OPERATOR, PROMETHEUS)


def test_changed_settings_roll_the_operator(render: Render, only: Only) -> None:
    def annotations(values: Manifest) -> Any:
        return only(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]

    assert annotations({}) == annotations({})
    assert annotations({}) != annotations({"weights": {"size": "1Gi"}})


def test_models_outlive_the_chart(render: Render, only: Only) -> None:
    source = yaml.safe_load((ROOT / "crds" / "embeddingmodels.yaml").read_text())
    kept = {"helm.sh/resource-policy": "keep"}
    source["metadata"]["annotations"] = source["metadata"].get("annotations", {}) | kept
    assert only(render(), "CustomResourceDefinition") == source
    assert "CustomResourceDefinition" not in kinds(render({"crds": {"install": False}}))


def test_packaged_chart_holds_the_definition_itself(
    helm: Callable[..., Any], tmp_path: Path
) -> None:
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("kubeembed-*.tgz")
    with tarfile.open(package) as tar:
        file = tar.extractfile("kubeembed/files/embeddingmodels.yaml")
        assert file is not None
        assert file.read() == (ROOT / "crds" / "embeddingmodels.yaml").read_bytes()


def test_one_replica_can_be_evicted(render: Render) -> None:
    values = {"operator": {"replicas": 1}, "gateway": {"replicas": 1}}
    assert "PodDisruptionBudget" not in kinds(render(values))


def test_monitors_and_policy_come_when_asked_for(render: Render) -> None:
    metrics = {"podMonitor": {"enabled": True}, "allowFrom": [PROMETHEUS]}
    values = {"networkPolicy": {"enabled": True}, "metrics": metrics}
    added = [kind for kind in kinds(render(values)) if kind not in kinds(render())]
    assert added == ["NetworkPolicy"] * 2 + ["PodMonitor"] * 3
    monitors = [each for each in render(values) if each["kind"] == "PodMonitor"]
    honours = {
        each["metadata"]["name"]: each["spec"]["podMetricsEndpoints"][0].get("honorLabels", False)
        for each in monitors
    }
    assert honours == {
        "kubeembed-operator": True,
        "kubeembed-gateway": True,
        "kubeembed-models": False,
    }


def test_notes_end_with_a_command_that_serves_a_model(helm: Callable[..., Any]) -> None:
    done = helm(
        "install", "kubeembed", CHART, "--dry-run=client", values={"watchNamespace": "search"}
    )
    assert done.returncode == 0, done.stderr
    assert "kubectl apply -n search -f - <<EOF" in done.stdout
    assert "http://minilm.search.svc/v1/embeddings" in done.stdout


def test_volumes_are_the_operators_only_where_nodes_have_a_cache(render: Render) -> None:
    """Also for one namespace, for a volume is in none."""
    values = {"watchNamespace": "search", "weights": {"node": {"path": "/mnt/fast"}}}
    roles = [each for each in render(values) if each["kind"].startswith("ClusterRole")]
    assert [each["metadata"]["name"] for each in roles] == ["kubeembed-operator-volumes"] * 2
    [role] = [each for each in roles if each["kind"] == "ClusterRole"]
    assert rules(role) == [([""], ["persistentvolumes"], ["create", "patch"])]
