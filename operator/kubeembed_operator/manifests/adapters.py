"""How LoRA adapters come to a model: one Job each that fetches and checks, and where pods find them.

They lie in the Shared cache. Where the weights are in it too, it is mounted anyway, so that an adapter that
comes or goes changes no pod. Pods of a pvc:// or oci:// model mount it beside their weights once they have an
adapter.

Pods of one base have one list of them, which their template names: so those of an earlier base keep theirs.
"""

import hashlib
import json

from kubeembed_api.caches import shared_claim
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import LAYOUT
from kubeembed_api.names import (
    ADAPTER,
    ADAPTERS_ROOT,
    CA_FILE,
    CACHE_ROOT,
    RESOLVE_ANNOTATION,
    adapter_job_name,
)
from kubeembed_api.sources import MOUNTED
from kubeembed_api.spec import Adapter
from kubeembed_operator.kinds import JOB, Manifest
from kubeembed_operator.manifests import pods
from kubeembed_operator.manifests.metadata import child, digest, labels
from kubeembed_operator.manifests.node_cache import on_node
from kubeembed_operator.manifests.weights import (
    ENDLESS,
    container,
    environment,
    identity,
    trusts_more,
    webhook,
)
from kubeembed_operator.settings import Settings

#: A Job that has told its result is of no more use; its pod's log is for a while.
KEPT_SECONDS = 300

#: Where the Job sees the claim of a pvc:// adapter, beside the cache that it is copied into.
SOURCE_ROOT, SOURCE_VOLUME = "/var/cache/kubeembed-source", "source"

#: An adapter has a few MB. Those that wait for their next try hold on to what is asked for here. The CPU is
#: for the start of the process, which requests wait for, beside pods that use all that their node has.
RESOURCES: Manifest = {
    "limits": {"memory": "1Gi"},
    "requests": {"cpu": "250m", "memory": "64Mi"},
}


def adapter_request(model: EmbeddingModel, adapter: Adapter) -> str:
    """8 hex digits that name what is asked of an adapter's source, for which name and which claim."""
    told = (
        json.dumps(adapter.model_dump(mode="json"), sort_keys=True),
        model.spec.model.service_account_name or "",
        model.metadata.annotations.get(RESOLVE_ANNOTATION, ""),
        shared_claim(model),
        str(LAYOUT),
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def adapter_list(model: EmbeddingModel) -> str:
    """16 hex digits that name the list of pods that make the same vectors of the same adapters, and find them
    in the same place. `model` is resolved."""
    recipe = model.spec.recipe.model_dump(mode="json", exclude_none=True)
    return digest([model.resolved.key, recipe, _root(model)])


def adapter_folder(model: EmbeddingModel, key: str) -> str:
    """Where serving pods see the copy of that key."""
    return f"{_root(model)}/{key}"


def adapter_job(model: EmbeddingModel, adapter: Adapter, settings: Settings) -> Manifest:
    """What runs until one adapter is in the cache and seen to be servable."""
    told = adapter.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"credentials_secret"}
    )
    spec = {
        **pods.pod_defaults(model, settings),
        **identity(model),
        "containers": [
            container(
                settings,
                name="fetch",
                args=["adapter", json.dumps(told, sort_keys=True), *_path(adapter)],
                env=environment(model, adapter, settings),
                mounts=[
                    *_certificate_mount(settings),
                    pods.scratch_mount(),
                    {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME},
                    *_source_mount(model, adapter),
                ],
                resources=RESOURCES,
            )
        ],
        "restartPolicy": "OnFailure",
        "volumes": [
            *_certificate_volume(model, settings),
            pods.scratch_volume(),
            {
                "name": pods.CACHE_VOLUME,
                "persistentVolumeClaim": {"claimName": shared_claim(model)},
            },
            *_source_volume(model, adapter),
        ],
    }
    name = adapter_job_name(model.name, adapter_request(model, adapter))
    return {
        **child(JOB, name, model, ADAPTER),
        "spec": {
            "backoffLimit": ENDLESS,
            "template": {
                "metadata": {"labels": labels(model, ADAPTER) | webhook(model)},
                "spec": spec,
            },
            "ttlSecondsAfterFinished": KEPT_SECONDS,
        },
    }


def volumes(model: EmbeddingModel) -> list[Manifest]:
    """Of a serving pod, beside that of its weights."""
    if not _apart(model):
        return []
    claim = {"claimName": shared_claim(model), "readOnly": True}
    return [{"name": pods.ADAPTERS_VOLUME, "persistentVolumeClaim": claim}]


def mounts(model: EmbeddingModel) -> list[Manifest]:
    if not _apart(model):
        return []
    return [{"mountPath": ADAPTERS_ROOT, "name": pods.ADAPTERS_VOLUME, "readOnly": True}]


def _source_volume(model: EmbeddingModel, adapter: Adapter) -> list[Manifest]:
    """The claim of a pvc:// adapter, whole: a hub's cache has links to what lies elsewhere in it."""
    if adapter.parsed.scheme != "pvc" or _in_cache(model, adapter):
        return []
    claim = {"claimName": adapter.parsed.host, "readOnly": True}
    return [{"name": SOURCE_VOLUME, "persistentVolumeClaim": claim}]


def _source_mount(model: EmbeddingModel, adapter: Adapter) -> list[Manifest]:
    if adapter.parsed.scheme != "pvc":
        return []
    name = pods.CACHE_VOLUME if _in_cache(model, adapter) else SOURCE_VOLUME
    return [{"mountPath": SOURCE_ROOT, "name": name, "readOnly": True}]


def _in_cache(model: EmbeddingModel, adapter: Adapter) -> bool:
    """Does it lie on the cache's own claim? Kubelet mounts a claim once for a pod: one that is a volume for
    reading and another for writing gets either."""
    return adapter.parsed.host == shared_claim(model)


def _path(adapter: Adapter) -> list[str]:
    if adapter.parsed.scheme != "pvc":
        return []
    inside = f"/{adapter.parsed.path}" if adapter.parsed.path else ""
    return ["--path", f"{SOURCE_ROOT}{inside}"]


def _certificate_volume(model: EmbeddingModel, settings: Settings) -> list[Manifest]:
    return [pods.config_volume(model, {CA_FILE: CA_FILE})] if trusts_more(settings) else []


def _certificate_mount(settings: Settings) -> list[Manifest]:
    return [pods.document_mount()] if trusts_more(settings) else []


def _root(model: EmbeddingModel) -> str:
    return ADAPTERS_ROOT if _apart(model) else CACHE_ROOT


def _apart(model: EmbeddingModel) -> bool:
    elsewhere = on_node(model) or model.spec.model.parsed.scheme in MOUNTED
    return bool(model.spec.adapters) and elsewhere
