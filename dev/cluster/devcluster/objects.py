"""What a cluster has before its first user: DNS as a Service, storage classes, our components' rights."""

from typing import Any

from devcluster.cluster import Cluster

Manifest = dict[str, Any]
PROVISIONER = "kubeembed.dev/node-folder"
READ = ["get", "list", "watch"]


def system(cluster: Cluster) -> list[Manifest]:
    """All of them, in an order in which they can be applied."""
    return [
        *_role("coredns", COREDNS_RULES),
        *_role("volumes", VOLUMES_RULES),
        *_role("policies", POLICIES_RULES),
        _dns_service(cluster),
        _dns_endpoints(cluster),
        storage_class("standard", default=True),
        storage_class("small", parameters={"medium": "Memory"}),
    ]


def storage_class(
    name: str, *, default: bool = False, parameters: dict[str, str] | None = None
) -> Manifest:
    """Claims wait for their first pod, because a volume is a folder of that pod's node."""
    marked = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": marked},
        "provisioner": PROVISIONER,
        "parameters": parameters or {},
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


COREDNS_RULES: list[Manifest] = [
    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
]
VOLUMES_RULES: list[Manifest] = [
    {
        "apiGroups": [""],
        "resources": ["persistentvolumes"],
        "verbs": [*READ, "create", "delete", "update", "patch"],
    },
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": [*READ, "update"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": READ},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "update", "patch"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": READ},
]
POLICIES_RULES: list[Manifest] = [
    {"apiGroups": [""], "resources": ["nodes", "pods", "namespaces"], "verbs": READ},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": READ},
]


def _role(component: str, rules: list[Manifest]) -> list[Manifest]:
    """The user is the one named by the component's certificate."""
    name = f"system:{component}"
    group = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
        },
    ]


def _dns_ports() -> list[Manifest]:
    return [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]


def _dns_service(cluster: Cluster) -> Manifest:
    """No selector: the one endpoint is the node."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": cluster.dns_address, "ports": _dns_ports()},
    }


def _dns_endpoints(cluster: Cluster) -> Manifest:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": _dns_ports(),
        "endpoints": [{"addresses": [cluster.node_address], "conditions": {"ready": True}}],
    }
