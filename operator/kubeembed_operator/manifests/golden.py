"""The golden vectors that a pod is held to before it is Ready: the user's ConfigMap, and the flags for it.

A ConfigMap that is not there keeps no container from starting: the runtime says so then, in its last words,
where kubelet would have said it in an Event alone. All of its keys are mounted, because those of adapters may
come while the pod runs.
"""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.golden import GOLDEN_KEY
from kubeembed_api.names import GOLDEN_FOLDER
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests import pods


def flags(model: EmbeddingModel) -> list[str]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    file = f"{_folder(golden.config_map)}/{GOLDEN_KEY}"
    return ["--golden", file, "--min-cosine", str(golden.min_cosine)]


def volumes(model: EmbeddingModel) -> list[Manifest]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    source = {"name": golden.config_map, "optional": True}
    return [{"configMap": source, "name": pods.GOLDEN_VOLUME}]


def mounts(model: EmbeddingModel) -> list[Manifest]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    folder = _folder(golden.config_map)
    return [{"mountPath": folder, "name": pods.GOLDEN_VOLUME, "readOnly": True}]


def _folder(config_map: str) -> str:
    """Has the ConfigMap's name in it, so that the runtime's messages do."""
    return f"{GOLDEN_FOLDER}/{config_map}"
