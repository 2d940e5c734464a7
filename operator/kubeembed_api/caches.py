"""Which claims a model's copies lie on, and which of their keys it has in use. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.keys import keys_in
from kubeembed_api.names import NODE_CLAIM, SHARED_CLAIM
from kubeembed_api.sources import MOUNTED

Manifest = dict[str, Any]


def cache_claim(model: EmbeddingModel) -> str | None:
    """Name of the claim that holds, or will hold, the weights; None where each pod has its own."""
    source = model.spec.model.parsed
    if source.scheme in MOUNTED:
        return source.host if source.scheme == "pvc" else None
    match model.spec.weights.cache:
        case "Ephemeral":
            return None
        case "Node":
            return NODE_CLAIM
    return shared_claim(model)


def shared_claim(model: EmbeddingModel) -> str:
    """That of its adapters, whatever its own cache is."""
    return model.spec.weights.claim or SHARED_CLAIM


def claims_of(model: EmbeddingModel) -> set[str]:
    """Of the weights, and of adapters."""
    adapters = {shared_claim(model)} if model.spec.adapters else set()
    return adapters | ({claim} if (claim := cache_claim(model)) else set())


def parsed(raw: Manifest) -> EmbeddingModel | None:
    """None for a document that is wrong by now: what it had may still be served, from whatever cache."""
    try:
        return parse(raw)
    except InvalidSpec:
        return None


def keys_on(
    claim: str,
    raw: Manifest,
    *,
    deployments: Sequence[Manifest],
    config_map: Manifest | None,
    pods: Iterable[Manifest],
) -> set[str]:
    """Keys that a model has in use on a claim, where it uses it: its document says so, or its pods still do.

    A key is in use wherever it is told: in the document (pvc://claim/key), in status, and in what pods read,
    also those of an earlier template, which may have to start once more.
    """
    model = parsed(raw)
    if model is not None and claim not in claims_of(model) and not _mounts(deployments, claim):
        return set()
    templates = (each["spec"]["template"] for each in deployments)
    documents = [_annotations(each) for each in (*pods, *templates)]
    return set(keys_in(raw.get("spec"), _copies(raw), (config_map or {}).get("data"), documents))


def _mounts(deployments: Iterable[Manifest], claim: str) -> bool:
    """Whether pods of theirs do: they change to another cache once the copy is there."""
    pods = (deployment["spec"]["template"]["spec"] for deployment in deployments)
    volumes = (volume for pod in pods for volume in pod.get("volumes") or ())
    return any(
        (each.get("persistentVolumeClaim") or {}).get("claimName") == claim for each in volumes
    )


def _copies(raw: Manifest) -> list[Any]:
    """What status tells of copies. Not the whole of it: a fingerprint looks like a key."""
    status = raw.get("status") or {}
    adapters = status.get("adapters") or ()
    keys = (adapter.get(field) for adapter in adapters for field in ("key", "refusedKey"))
    return [status.get("weights"), *keys]


def _annotations(manifest: Manifest) -> Manifest:
    return dict(manifest.get("metadata", {}).get("annotations") or {})
