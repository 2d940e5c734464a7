"""How weights come to a model: the shared claim, and the Job that resolves, fetches and verifies.

The Job runs the small control image, so it starts at once and while the GPU's node is still coming. Its
name holds a hash of what is asked for: another revision is another Job, beside the old copy.
"""

import hashlib

from kubeembed_api.caches import cache_claim, shared_claim
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import LAYOUT
from kubeembed_api.names import (
    CA_CERTIFICATES,
    CA_FILE,
    CACHE_ROOT,
    COMPONENT,
    DOCUMENT_FILE,
    DOCUMENT_FOLDER,
    MANAGED_BY,
    MANAGED_BY_VALUE,
    RESOLVE_ANNOTATION,
    SHARED_CLAIM,
    TERMINATION_LOG,
    WEIGHTS,
    fetch_job_name,
)
from kubeembed_api.sourced import Sourced
from kubeembed_api.sources import CREDENTIALS, MOUNTED
from kubeembed_operator.kinds import CLAIM, JOB, Manifest
from kubeembed_operator.manifests import pods
from kubeembed_operator.manifests.metadata import child, labels
from kubeembed_operator.quantities import parse_quantity
from kubeembed_operator.settings import Settings

#: The Job never gives up: kubelet spaces the attempts, and the cause may go at any time.
ENDLESS = 2**31 - 1

#: GKE's metadata server, which gives a pod its service account's token. Google's clients read its name from a
#: variable, by which a fetch knows that it may ask there.
GKE_METADATA = "metadata.google.internal"

#: Where the Job sees the claim that is the source itself.
MOUNTED_SOURCE = f"{CACHE_ROOT}/source"

#: A fetch streams to disk; what it holds in memory is a few buffers and the listing.
FETCH_RESOURCES: Manifest = {
    "limits": {"memory": "1Gi"},
    "requests": {"cpu": "100m", "memory": "256Mi"},
}


def fetch_request(model: EmbeddingModel) -> str:
    """8 hex digits that name what is asked of the source, and for which cache."""
    spec = model.spec
    told = (
        str(spec.model.parsed),
        spec.model.revision or "",
        spec.model.endpoint or "",
        spec.model.region or "",
        spec.model.sha256 or "",
        spec.model.credentials_secret or "",
        spec.model.service_account_name or "",
        model.metadata.annotations.get(RESOLVE_ANNOTATION, ""),
        spec.weights.cache,
        spec.weights.claim or "",
        str(LAYOUT),
    )
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]


def wants_shared_claim(model: EmbeddingModel) -> bool:
    """Whether the namespace's own claim is used, which is made where it is absent."""
    weights = cache_claim(model) == shared_claim(model)
    weights = weights and model.spec.model.parsed.scheme not in MOUNTED
    return (weights or bool(model.spec.adapters)) and shared_claim(model) == SHARED_CLAIM


def claim(namespace: str, settings: Settings) -> Manifest:
    """The namespace's cache. Owned by no model, so that it outlives them all."""
    return {
        "apiVersion": CLAIM.api_version,
        "kind": CLAIM.name,
        "metadata": {
            "labels": {COMPONENT: WEIGHTS, MANAGED_BY: MANAGED_BY_VALUE},
            "name": SHARED_CLAIM,
            "namespace": namespace,
        },
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": settings.weights.size}},
            **_storage_class(settings),
        },
    }


def claimed(claim: Manifest) -> int:
    """Bytes that a claim asks for. A volume may be larger, as a folder of a whole disk is."""
    return int(parse_quantity(claim["spec"]["resources"]["requests"]["storage"]))


def fetch_job(model: EmbeddingModel, settings: Settings) -> Manifest:
    """What runs until the model's weights are in the cache, and says so in its last word."""
    name = fetch_job_name(model.name, fetch_request(model))
    spec = {
        **pods.pod_defaults(model, settings),
        **identity(model),
        "containers": [
            fetch_container(model, settings, name="fetch", mount=_job_mount(model))
            | {"ports": [pods.admin_port()]}
        ],
        "restartPolicy": "OnFailure",
        "volumes": [
            pods.config_volume(
                model,
                {pods.FETCH_DOCUMENT: DOCUMENT_FILE}
                | ({CA_FILE: CA_FILE} if trusts_more(settings) else {}),
            ),
            pods.scratch_volume(),
            *_job_volumes(model),
        ],
    }
    template = {"metadata": {"labels": labels(model, WEIGHTS) | webhook(model)}, "spec": spec}
    job = child(JOB, name, model, WEIGHTS)
    return {**job, "spec": {"backoffLimit": ENDLESS, "template": template}}


def fetch_container(
    model: EmbeddingModel, settings: Settings, *, name: str, mount: Manifest | None
) -> Manifest:
    """For the base, in the Job or in a pod that fetches for itself; without a mount it only resolves."""
    return container(
        settings,
        name=name,
        args=_arguments(model, resolve_only=mount is None),
        env=environment(model, model.spec.model, settings),
        mounts=[*pods.common_mounts(), *([mount] if mount else [])],
    )


def container(
    settings: Settings,
    *,
    name: str,
    args: list[str],
    env: list[Manifest],
    mounts: list[Manifest],
    resources: Manifest = FETCH_RESOURCES,
) -> Manifest:
    """kubeembed-weights in the control image."""
    return {
        "args": args,
        "command": ["kubeembed-weights"],
        "env": env,
        "image": settings.images.control,
        "imagePullPolicy": settings.images.pull_policy,
        "name": name,
        "resources": resources,
        "securityContext": pods.container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _arguments(model: EmbeddingModel, *, resolve_only: bool) -> list[str]:
    document = f"{DOCUMENT_FOLDER}/{DOCUMENT_FILE}"
    if model.spec.model.parsed.scheme == "pvc":
        return ["check", document, "--path", MOUNTED_SOURCE]
    return ["fetch", document, *(["--resolve-only"] if resolve_only else [])]


def trusts_more(settings: Settings) -> bool:
    """Whether fetches trust private CAs, so that the ConfigMap has their certificates."""
    return bool(settings.weights.ca_certificates)


def credentials(told: Sourced) -> list[Manifest]:
    """The variables of the source, from the user's Secret. A required key that is not there stops the pod."""
    secret = told.credentials_secret
    keys = CREDENTIALS.get(told.parsed.scheme, ()) if secret else ()
    return [
        {
            "name": each.variable,
            "valueFrom": {
                "secretKeyRef": {"key": each.key, "name": secret}
                | ({} if each.required else {"optional": True})
            },
        }
        for each in keys
    ]


def environment(model: EmbeddingModel, told: Sourced, settings: Settings) -> list[Manifest]:
    """What a fetch of the model's weights, or of an adapter, reads. HOME is scratch, for libraries that leave
    files there on a read-only root."""
    hub = settings.weights.hub_endpoint
    plain = {
        "HOME": "/tmp",
        **({"HF_ENDPOINT": hub} if hub else {}),
        **({CA_CERTIFICATES: f"{DOCUMENT_FOLDER}/{CA_FILE}"} if trusts_more(settings) else {}),
        **({"GCE_METADATA_HOST": GKE_METADATA} if model.spec.model.service_account_name else {}),
    }
    return [*pods.variables(plain), *credentials(told)]


def identity(model: EmbeddingModel) -> Manifest:
    """As whom the Job runs, for the cloud's workload identity: its webhook mounts the token that this needs.
    The token for the API server stays out."""
    account = model.spec.model.service_account_name
    return {"serviceAccountName": account} if account else {}


def webhook(model: EmbeddingModel) -> dict[str, str]:
    """Azure's webhook looks at pods with this label alone; the other clouds' at the account."""
    return {"azure.workload.identity/use": "true"} if identity(model) else {}


def _job_mount(model: EmbeddingModel) -> Manifest | None:
    """Where the Job sees the cache, or the claim that is the source; None where it only resolves."""
    source = model.spec.model.parsed
    if source.scheme == "pvc":
        path = {"subPath": source.path} if source.path else {}
        mount = {"mountPath": MOUNTED_SOURCE, "name": pods.CACHE_VOLUME, "readOnly": True}
        return mount | path
    if model.spec.weights.cache != "Shared":
        return None
    return {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME}


def _job_volumes(model: EmbeddingModel) -> list[Manifest]:
    name = cache_claim(model)
    if name is None or _job_mount(model) is None:
        return []
    mounted = {"claimName": name}
    read_only = {"readOnly": True} if model.spec.model.parsed.scheme == "pvc" else {}
    return [{"name": pods.CACHE_VOLUME, "persistentVolumeClaim": mounted | read_only}]


def _storage_class(settings: Settings) -> Manifest:
    name = settings.weights.storage_class_name
    return {"storageClassName": name} if name is not None else {}
