"""Labels, owner and the annotation that says what was applied: the same on every child of a model."""

import hashlib
import json

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import (
    API_VERSION,
    APPLIED_ANNOTATION,
    COMPONENT,
    KIND,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    MODEL_LABEL,
    SERVING,
)
from kubeembed_operator.kinds import Kind, Manifest


def labels(model: EmbeddingModel, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/instance": model.name,
        "app.kubernetes.io/name": "embeddingmodel",
        COMPONENT: component,
        MANAGED_BY: MANAGED_BY_VALUE,
        MODEL_LABEL: model.name,
    }


def selector(model: EmbeddingModel, component: str = SERVING) -> dict[str, str]:
    """What Deployment and Service select pods by. Immutable in a Deployment: never changed."""
    return {COMPONENT: component, MODEL_LABEL: model.name}


def owner(model: EmbeddingModel) -> Manifest:
    """blockOwnerDeletion would ask for the right to write finalizers, and Kubernetes collects without."""
    return {
        "apiVersion": API_VERSION,
        "blockOwnerDeletion": False,
        "controller": True,
        "kind": KIND,
        "name": model.name,
        "uid": model.metadata.uid,
    }


def child(kind: Kind, name: str, model: EmbeddingModel, component: str) -> Manifest:
    """The head of a child of `model`, to which a builder adds spec or data."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {
            "labels": labels(model, component),
            "name": name,
            "namespace": model.namespace,
            "ownerReferences": [owner(model)],
        },
    }


def digest(value: object) -> str:
    """16 hex digits of whatever JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def stamped(manifest: Manifest) -> Manifest:
    """The manifest with its own hash in an annotation, by which a field that is no longer set is noticed."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def stamp(manifest: Manifest) -> str | None:
    """The hash that an object was applied with, if it was."""
    annotations: dict[str, str] = manifest["metadata"].get("annotations") or {}
    return annotations.get(APPLIED_ANNOTATION)
