"""What a model's pods run as, read and stand behind: ServiceAccount, ConfigMap, Service. Pure."""

import json
from functools import lru_cache

import yaml

from kubeembed_api.document import EmbeddingModel, Resolved, dump
from kubeembed_api.names import ACTIVATOR_PORT_ANNOTATION, SERVICE_PORT, SERVING, serving_name
from kubeembed_operator.kinds import CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, Manifest
from kubeembed_operator.manifests.metadata import child, selector

#: Of the Service, and so of every EndpointSlice of it.
HTTP_PORT_NAME = "http"


def document(model: EmbeddingModel) -> str:
    """The document as pods read it. The same text for the same model, so that nothing rolls out by itself."""
    return _yaml(json.dumps(dump(model), sort_keys=True))


def fetch_document(model: EmbeddingModel, capacity: int | None = None) -> str:
    """The document as the fetch Job reads it: what is asked for, nothing resolved; and how many bytes the
    cache may have. In the document, so that a claim that grows does not end a fetch."""
    told = dump(model.model_copy(update={"resolved": Resolved()}))
    if capacity is not None:
        told["status"]["weights"]["capacity"] = capacity
    return _yaml(json.dumps(told, sort_keys=True))


@lru_cache(4096)
def _yaml(document: str) -> str:
    """Remembered, because each pass over a model asks for it and YAML is the slowest part of a pass."""
    return yaml.safe_dump(json.loads(document), sort_keys=True)


def service_account(model: EmbeddingModel) -> Manifest:
    account = child(SERVICE_ACCOUNT, model.name, model, SERVING)
    return {**account, "automountServiceAccountToken": False}


def config_map(model: EmbeddingModel, documents: dict[str, str]) -> Manifest:
    return {**child(CONFIG_MAP, model.name, model, SERVING), "data": documents}


def service(
    model: EmbeddingModel,
    component: str = SERVING,
    *,
    pods_of: str | None = None,
    activator_port: int | None = None,
) -> Manifest:
    """pods_of: the component of the pods behind it, where they are not its own. activator_port: of the
    gateway's pods, for this model; None where it has none."""
    made = child(SERVICE, serving_name(model.name, component), model, component)
    port = {"name": HTTP_PORT_NAME, "port": SERVICE_PORT, "protocol": "TCP", "targetPort": "http"}
    chosen = selector(model, pods_of or component)
    spec = {"ports": [port], "selector": chosen, "type": "ClusterIP"}
    if activator_port is None:
        return {**made, "spec": spec}
    annotations = {ACTIVATOR_PORT_ANNOTATION: str(activator_port)}
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}, "spec": spec}
