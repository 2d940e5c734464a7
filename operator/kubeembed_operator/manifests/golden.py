"""The golden vectors that a pod is held to before it is Ready: the user's ConfigMap, the flags for it, and
whether its roll-out was through.

A ConfigMap that is not there keeps no container from starting: the runtime says so then, in its last words,
where kubelet would have said it in an Event alone. All of its keys are mounted, because those of adapters may
come while the pod runs.
"""

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.golden import GOLDEN_KEY, Digests
from kubeembed_api.names import (
    GOLDEN_ANNOTATION,
    GOLDEN_FOLDER,
    ROLLED_OUT_FILE,
    ROLLED_OUT_FOLDER,
    ROLLED_OUT_KEY,
)
from kubeembed_operator.kinds import Manifest
from kubeembed_operator.manifests import pods


def notes(model: EmbeddingModel, read: Digests | None) -> dict[str, str]:
    """The annotation of the template: of the ConfigMap as it was read."""
    if model.spec.rollout.golden is None or read is None:
        return {}
    return {GOLDEN_ANNOTATION: f"{read.base} {read.every}"}


def flags(model: EmbeddingModel, read: Digests | None) -> list[str]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    file = f"{_folder(golden.config_map)}/{GOLDEN_KEY}"
    meant = ["--golden-digests", read.base, read.every] if read is not None else []
    told = ["--golden", file, "--min-cosine", str(golden.min_cosine), *meant]
    return [*told, "--rolled-out", ROLLED_OUT_FILE]


def volumes(model: EmbeddingModel) -> list[Manifest]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    source = {"name": golden.config_map, "optional": True}
    return [{"configMap": source, "name": pods.GOLDEN_VOLUME}]


def rolled_out_volume(model: EmbeddingModel, template: str) -> list[Manifest]:
    """The key of the model's own ConfigMap that comes once all pods of that template were ready."""
    if model.spec.rollout.golden is None:
        return []
    path = ROLLED_OUT_FILE.removeprefix(f"{ROLLED_OUT_FOLDER}/")
    items = [{"key": ROLLED_OUT_KEY.format(template), "path": path}]
    source = {"items": items, "name": model.name, "optional": True}
    return [{"configMap": source, "name": pods.ROLLED_OUT_VOLUME}]


def mounts(model: EmbeddingModel) -> list[Manifest]:
    golden = model.spec.rollout.golden
    if golden is None:
        return []
    folder = _folder(golden.config_map)
    return [
        {"mountPath": folder, "name": pods.GOLDEN_VOLUME, "readOnly": True},
        {"mountPath": ROLLED_OUT_FOLDER, "name": pods.ROLLED_OUT_VOLUME, "readOnly": True},
    ]


def _folder(config_map: str) -> str:
    """Has the ConfigMap's name in it, so that the runtime's messages do."""
    return f"{GOLDEN_FOLDER}/{config_map}"
