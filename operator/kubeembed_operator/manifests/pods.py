"""What every pod of ours has in common: the `restricted` Pod Security level, and the mounted document."""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import ADMIN_PORT, CA_FILE, DOCUMENT_FILE, DOCUMENT_FOLDER, RUN_AS
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.settings import Settings

#: Keys of the ConfigMap: what the serving pods read, and what the fetch Job is asked for.
SERVED_DOCUMENT = DOCUMENT_FILE
FETCH_DOCUMENT = "fetch.yaml"

CACHE_VOLUME = "weights"
DOCUMENT_VOLUME = "document"
KEYS_VOLUME = "api-keys"
SCRATCH_VOLUME = "tmp"


def pod_defaults(model: EmbeddingModel, settings: Settings) -> Manifest:
    """The fields of a pod's spec that do not depend on what runs in it."""
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
        "serviceAccountName": model.name,
        **_pull_secrets(settings),
    }


def container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def admin_port() -> Manifest:
    return {"containerPort": ADMIN_PORT, "name": "admin", "protocol": "TCP"}


def document_volume(model: EmbeddingModel, key: str, *, cas: bool = False) -> Manifest:
    """One document of the model's ConfigMap, which the pod sees under the one name it knows. `cas`: and the
    certificates that a fetch trusts."""
    items = [{"key": key, "path": DOCUMENT_FILE}]
    items += [{"key": CA_FILE, "path": CA_FILE}] if cas else []
    return {"configMap": {"items": items, "name": model.name}, "name": DOCUMENT_VOLUME}


def scratch_volume() -> Manifest:
    return {"emptyDir": {}, "name": SCRATCH_VOLUME}


def common_mounts() -> list[Manifest]:
    return [
        {"mountPath": DOCUMENT_FOLDER, "name": DOCUMENT_VOLUME, "readOnly": True},
        {"mountPath": "/tmp", "name": SCRATCH_VOLUME},
    ]


def variables(values: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _pull_secrets(settings: Settings) -> Manifest:
    secrets = settings.images.pull_secrets
    return {"imagePullSecrets": [{"name": name} for name in secrets]} if secrets else {}
