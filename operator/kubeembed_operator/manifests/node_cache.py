"""The Node cache: one claim per namespace that is another folder on each node, and what fetches into it.

The `restricted` level allows no hostPath, but claims. A local volume whose affinity every node meets is
mounted from the node that the pod is on, and made writable for our group by kubelet, as a hostPath is not.
Namespaces share the administrator's folder, each below its name.
"""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import (
    CACHE_ROOT,
    COMPONENT,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    NODE_CLAIM,
    WEIGHTS,
)
from kubeembed_operator.kinds import CLAIM, VOLUME, Manifest
from kubeembed_operator.manifests import pods
from kubeembed_operator.settings import NodeCache, Settings

LABELS = {COMPONENT: WEIGHTS, MANAGED_BY: MANAGED_BY_VALUE}


def on_node(model: EmbeddingModel) -> bool:
    return model.spec.weights.cache == "Node"


def node_objects(model: EmbeddingModel, settings: Settings) -> list[Manifest]:
    """Volume and claim, where the model wants them."""
    node = settings.weights.node
    if node is None or not on_node(model):
        return []
    return [_volume(model.namespace, node), _claim(model.namespace, node)]


def node_mount(namespace: str) -> Manifest:
    """Kubelet makes the folder below, with the rights of the one above."""
    return {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME, "subPath": namespace}


def volume_name(namespace: str) -> str:
    return f"kubeembed-{namespace}"


def _volume(namespace: str, node: NodeCache) -> Manifest:
    """Its claim is named without a uid: a namespace that is made anew gets the folder back."""
    everywhere = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    return {
        "apiVersion": VOLUME.api_version,
        "kind": VOLUME.name,
        "metadata": {"labels": LABELS, "name": volume_name(namespace)},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": node.size},
            "claimRef": {
                "apiVersion": CLAIM.api_version,
                "kind": CLAIM.name,
                "name": NODE_CLAIM,
                "namespace": namespace,
                "uid": "",
            },
            "local": {"path": node.path},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [everywhere]}]}
            },
            "persistentVolumeReclaimPolicy": "Retain",
            "volumeMode": "Filesystem",
        },
    }


def _claim(namespace: str, node: NodeCache) -> Manifest:
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.name,
        "metadata": {"labels": LABELS, "name": NODE_CLAIM, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": node.size}},
            "storageClassName": "",
            "volumeName": volume_name(namespace),
        },
    }
