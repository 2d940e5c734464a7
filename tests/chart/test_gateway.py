"""The gateway as the chart installs it: rights no wider than its use, restricted, told what values say."""

from collections.abc import Callable
from typing import Any

import pytest

from chartkit import restricted

pytestmark = pytest.mark.cluster

Manifest = dict[str, Any]
Only = Callable[..., Manifest]
Render = Callable[..., list[Manifest]]

RIGHTS = [
    (["kubeembed.dev"], ["embeddingmodels"], ["list", "watch"]),
    ([""], ["services"], ["list", "watch"]),
    (["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]),
    (["apps"], ["deployments/scale"], ["patch"]),
]
LABELS = {
    "app.kubernetes.io/component": "gateway",
    "app.kubernetes.io/instance": "kubeembed",
    "app.kubernetes.io/name": "kubeembed",
}
EVERYTHING = ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy")


def rules(role: Manifest) -> list[tuple[list[str], list[str], list[str]]]:
    return [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role["rules"]]


def test_gateway_may_look_and_wake_and_nothing_else(render: Render, only: Only) -> None:
    manifests = render()
    assert rules(only(manifests, "ClusterRole", "gateway")) == RIGHTS
    binding = only(manifests, "ClusterRoleBinding", "gateway")
    account = {"kind": "ServiceAccount", "name": "kubeembed-gateway", "namespace": "system"}
    assert binding["subjects"] == [account]


def test_one_namespace_needs_no_right_of_the_cluster(render: Render, only: Only) -> None:
    manifests = render({"watchNamespace": "search"})
    assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in manifests}
    role = only(manifests, "Role", "gateway")
    assert (role["metadata"]["namespace"], rules(role)) == ("search", RIGHTS)
    binding = only(manifests, "RoleBinding", "gateway")
    assert binding["metadata"]["namespace"] == "search"
    (container,) = only(manifests, "Deployment", "gateway")["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--namespace=search" in container["args"]


def test_gateway_meets_the_restricted_pod_security_level(render: Render, only: Only) -> None:
    pod = only(render(), "Deployment", "gateway")["spec"]["template"]["spec"]
    restricted(pod)


def test_gateway_is_told_what_the_values_say(render: Render, only: Only) -> None:
    told = {"replicas": 3, "heldMiB": 16, "logLevel": "DEBUG", "podAnnotations": {"a": "b"}}
    manifests = render({"gateway": told, "images": {"control": "registry.example/control:1"}})
    deployment = only(manifests, "Deployment", "gateway")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert template["metadata"]["annotations"] == {"a": "b"}
    assert container["image"] == "registry.example/control:1"
    assert container["args"] == ["--held-mib=16", "--log-level=DEBUG"]


def test_page_can_be_left_out(render: Render, only: Only) -> None:
    deployment = only(render({"gateway": {"page": False}}), "Deployment", "gateway")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--held-mib=64", "--no-page", "--log-level=INFO"]


def test_api_keys_are_a_secret_that_is_mounted_and_no_right_to_read_any(
    render: Render, only: Only
) -> None:
    manifests = render({"gateway": {"apiKeysSecret": "our-keys"}})
    pod = only(manifests, "Deployment", "gateway")["spec"]["template"]["spec"]
    restricted(pod)
    (container,) = pod["containers"]
    folder = "/etc/kubeembed-keys/our-keys"
    assert container["args"][-1] == f"--api-keys={folder}"
    mount = {"name": "api-keys", "mountPath": folder, "readOnly": True}
    assert container["volumeMounts"][-1] == mount
    assert pod["volumes"][-1] == {"name": "api-keys", "secret": {"secretName": "our-keys"}}
    assert rules(only(manifests, "ClusterRole", "gateway")) == RIGHTS


def test_service_leads_to_the_gateway_alone(render: Render, only: Only) -> None:
    manifests = render()
    service, deployment = (only(manifests, kind, "gateway") for kind in ("Service", "Deployment"))
    assert service["metadata"]["name"] == "kubeembed-gateway"
    assert service["spec"]["selector"] == LABELS
    assert deployment["spec"]["selector"]["matchLabels"] == LABELS
    assert deployment["spec"]["template"]["metadata"]["labels"].items() >= LABELS.items()
    assert service["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    ]


def test_policy_opens_the_ports_of_requests_and_for_some_the_figures(
    render: Render, only: Only
) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    values = {"networkPolicy": {"enabled": True}, "metrics": {"allowFrom": [peer]}}
    requests, figures = only(render(values), "NetworkPolicy", "gateway")["spec"]["ingress"]
    assert requests == {
        "ports": [
            {"port": 8080, "protocol": "TCP"},
            {"port": 20000, "endPort": 29999, "protocol": "TCP"},
        ]
    }
    assert figures["ports"] == [{"port": 8081, "protocol": "TCP"}]
    assert peer in figures["from"]


def test_nothing_of_it_is_installed_where_it_is_not_wanted(render: Render) -> None:
    policies = {"networkPolicy": {"enabled": True}}
    names = [each["metadata"]["name"] for each in render(policies)]
    assert names.count("kubeembed-gateway") == len(EVERYTHING) + 2
    without = render({**policies, "gateway": {"enabled": False}})
    assert "kubeembed-gateway" not in [each["metadata"]["name"] for each in without]
