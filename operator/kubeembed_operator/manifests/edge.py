"""Who may ask a serving pod: the flags, and the Secret with API keys, which the pod has mounted."""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import API_KEYS, API_KEYS_FOLDER
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests import pods

#: Of the file with API keys: for our group, which owns the volume, to read.
KEYS_MODE = 0o440


def flags(model: EmbeddingModel) -> list[str]:
    """The flags for who may ask."""
    serving = model.spec.serving
    secret = serving.api_keys_secret
    keys = ["--api-keys", f"{_folder(secret)}/{API_KEYS}"] if secret else []
    return [*keys, *(f"--cors-origin={origin}" for origin in serving.cors_origins)]


def volumes(model: EmbeddingModel) -> list[Manifest]:
    """The one key of the Secret: a pod sees nothing else that may be in it. Where it is absent the container
    starts, and the runtime ends with a word on it, where kubelet would have said it in an Event alone."""
    name = model.spec.serving.api_keys_secret
    if name is None:
        return []
    items = [{"key": API_KEYS, "path": API_KEYS}]
    secret = {"defaultMode": KEYS_MODE, "items": items, "optional": True, "secretName": name}
    return [{"name": pods.KEYS_VOLUME, "secret": secret}]


def mounts(model: EmbeddingModel) -> list[Manifest]:
    name = model.spec.serving.api_keys_secret
    if name is None:
        return []
    return [{"mountPath": _folder(name), "name": pods.KEYS_VOLUME, "readOnly": True}]


def _folder(secret: str) -> str:
    """Has the Secret's name in it, so that the runtime's messages do."""
    return f"{API_KEYS_FOLDER}/{secret}"
