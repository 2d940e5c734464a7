"""What every pod of ours has in common: the `restricted` Pod Security level, and the mounted document."""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import (
    ADMIN_PORT,
    DOCUMENT_ANNOTATION,
    DOCUMENT_FILE,
    DOCUMENT_FOLDER,
    RUN_AS,
)
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.settings import Settings

#: Key of the ConfigMap: what the fetch Job is asked for.
FETCH_DOCUMENT = "fetch.yaml"

CACHE_VOLUME = "weights"
ADAPTERS_VOLUME = "adapters"
DOCUMENT_VOLUME = "document"
GOLDEN_VOLUME = "golden"
KEYS_VOLUME = "api-keys"
ROLLED_OUT_VOLUME = "roll-out"
SCRATCH_VOLUME = "tmp"


def pod_defaults(model: EmbeddingModel, settings: Settings) -> Manifest:
    """The fields of a model's pod that do not depend on what runs in it."""
    return {
        **restricted(),
        "serviceAccountName": model.name,
        **_pull_secrets(model, settings),
    }


def restricted() -> Manifest:
    """What the `restricted` level asks of any pod, and no token for the API server."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "fsGroup": RUN_AS,
            "fsGroupChangePolicy": "OnRootMismatch",
            "runAsGroup": RUN_AS,
            "runAsNonRoot": True,
            "runAsUser": RUN_AS,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def admin_port() -> Manifest:
    return {"containerPort": ADMIN_PORT, "name": "admin", "protocol": "TCP"}


def served_volume(model: EmbeddingModel, paths: dict[str, str]) -> Manifest:
    """The document of the pod's own annotation, and beside it keys of the model's ConfigMap, by what the pod
    calls them. So the pods of each template have a document of their own, also those that come later."""
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{DOCUMENT_ANNOTATION}']"}
    document = {"items": [{"fieldRef": field, "path": DOCUMENT_FILE}]}
    config = _keys(model, paths)
    sources = [{"downwardAPI": document}, {"configMap": config}]
    return {"name": DOCUMENT_VOLUME, "projected": {"sources": sources}}


def config_volume(model: EmbeddingModel, paths: dict[str, str]) -> Manifest:
    """Keys of the model's ConfigMap, and under which name the pod sees each."""
    return {"configMap": _keys(model, paths), "name": DOCUMENT_VOLUME}


def _keys(model: EmbeddingModel, paths: dict[str, str]) -> Manifest:
    items = [{"key": key, "path": path} for key, path in paths.items()]
    return {"items": items, "name": model.name}


def scratch_volume() -> Manifest:
    return {"emptyDir": {}, "name": SCRATCH_VOLUME}


def common_mounts() -> list[Manifest]:
    return [
        document_mount(),
        scratch_mount(),
    ]


def document_mount() -> Manifest:
    return {"mountPath": DOCUMENT_FOLDER, "name": DOCUMENT_VOLUME, "readOnly": True}


def scratch_mount() -> Manifest:
    return {"mountPath": "/tmp", "name": SCRATCH_VOLUME}


def variables(values: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _pull_secrets(model: EmbeddingModel, settings: Settings) -> Manifest:
    """The chart's, and that of an image with the weights: kubelet uses them, the pod does not see them."""
    own = model.spec.model.credentials_secret
    from_image = (own,) if own and model.spec.model.parsed.scheme == "oci" else ()
    secrets = dict.fromkeys((*settings.images.pull_secrets, *from_image))
    return {"imagePullSecrets": [{"name": name} for name in secrets]} if secrets else {}
