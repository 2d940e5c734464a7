"""The Deployment of a model's pods, which read the resolved document. Pure.

`replicas` is not in it: how many pods there are is the scaler's, and applying it would take it back.
"""

from kubeembed_api.caches import cache_claim
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.golden import Digests
from kubeembed_api.names import (
    ADAPTERS_ANNOTATION,
    ADAPTERS_FILE,
    ADAPTERS_KEY,
    CA_FILE,
    CACHE_ROOT,
    DOCUMENT_ANNOTATION,
    DOCUMENT_FILE,
    DOCUMENT_FOLDER,
    HTTP_PORT,
    PAUSED_ANNOTATION,
    SERVING,
    TEMPLATE_ANNOTATION,
    TERMINATION_LOG,
    serving_name,
)
from kubeembed_api.sources import MOUNTED
from kubeembed_operator.kinds import DEPLOYMENT, Manifest
from kubeembed_operator.manifests import adapters, edge, golden, pods
from kubeembed_operator.manifests.metadata import child, digest, labels, selector
from kubeembed_operator.manifests.node_cache import node_mount, on_node
from kubeembed_operator.manifests.placement import hardware, placement, strategy
from kubeembed_operator.manifests.serving import document
from kubeembed_operator.manifests.weights import fetch_container, trusts_more
from kubeembed_operator.settings import Profile, Settings

#: 20 min: 15 GB read from a slow claim, and a GPU that is set up meanwhile.
STARTUP_SECONDS = 1200

#: What the runtime may take to finish the requests it holds: it lingers 5 s, and cuts what is left 71 s on.
#: No preStop hook: lingering is what it would do, and readiness falls meanwhile.
DRAIN_SECONDS = 90


def deployment(
    model: EmbeddingModel,
    settings: Settings,
    component: str = SERVING,
    *,
    read: Digests | None = None,
    replaces: bool = False,
    idle: bool = False,
) -> Manifest:
    """`model` is resolved: its key is known, so that no pod ever fetches or resolves by itself. `read`: the
    golden vectors that its pods are held to. `replaces`: there is no room for a surge, so old pods give their
    place to new ones; `idle`: nobody asks the old."""
    spec = {
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector(model, component)},
        "strategy": strategy(model, replaces=replaces, idle=idle),
        "template": _template(model, settings, component, read),
    }
    name = serving_name(model.name, component)
    return {**child(DEPLOYMENT, name, model, component), "spec": spec}


def pause(model: EmbeddingModel, *, paused: bool) -> Manifest:
    """Applied by a field manager of its own: leaving the fields out takes this pause away and no other."""
    told: Manifest = {"annotations": {PAUSED_ANNOTATION: "true"}} if paused else {}
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.name,
        "metadata": {**told, "name": model.name, "namespace": model.namespace},
        "spec": {"paused": True} if paused else {},
    }


def _template(
    model: EmbeddingModel, settings: Settings, component: str, read: Digests | None
) -> Manifest:
    """Has its own name in it, by which its pods find out whether all of them were ready once."""
    profile = settings.profiles[model.spec.resources.profile or settings.default_profile]
    spec = _pod(model, settings, profile, component, read)
    annotations = {
        ADAPTERS_ANNOTATION: adapters.adapter_list(model),
        DOCUMENT_ANNOTATION: document(model),
        **golden.notes(model, read),
    }
    name = digest([annotations, component, spec])
    return {
        "metadata": {
            "annotations": annotations | {TEMPLATE_ANNOTATION: name},
            "labels": labels(model, component),
        },
        "spec": {**spec, "volumes": [*spec["volumes"], *golden.rolled_out_volume(model, name)]},
    }


def _pod(
    model: EmbeddingModel,
    settings: Settings,
    profile: Profile,
    component: str,
    read: Digests | None,
) -> Manifest:
    return {
        **pods.pod_defaults(model, settings),
        **placement(model, profile, component),
        **_init_containers(model, settings),
        "containers": [_runtime(model, settings, profile, read)],
        "terminationGracePeriodSeconds": DRAIN_SECONDS,
        "volumes": [
            pods.served_volume(
                model,
                {ADAPTERS_KEY.format(adapters.adapter_list(model)): ADAPTERS_FILE}
                | ({CA_FILE: CA_FILE} if _fetches(model) and trusts_more(settings) else {}),
            ),
            pods.scratch_volume(),
            _cache_volume(model),
            *adapters.volumes(model),
            *edge.volumes(model),
            *golden.volumes(model),
        ],
    }


def _runtime(
    model: EmbeddingModel, settings: Settings, profile: Profile, read: Digests | None
) -> Manifest:
    return {
        "args": [
            "serve",
            f"{DOCUMENT_FOLDER}/{DOCUMENT_FILE}",
            "--host",
            "0.0.0.0",
            "--cache",
            CACHE_ROOT,
            *edge.flags(model),
            *golden.flags(model, read),
        ],
        "command": ["kubeembed-runtime"],
        "env": pods.variables({"HOME": "/tmp", **profile.env}),
        "image": profile.image or settings.images.runtime,
        "imagePullPolicy": settings.images.pull_policy,
        "name": "runtime",
        "ports": [
            {"containerPort": HTTP_PORT, "name": "http", "protocol": "TCP"},
            pods.admin_port(),
        ],
        **hardware(model, profile),
        "securityContext": pods.container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *pods.common_mounts(),
            _cache_mount(model),
            *adapters.mounts(model),
            *edge.mounts(model),
            *golden.mounts(model),
        ],
        **_probes(),
    }


def _probes() -> Manifest:
    """Readiness is asked each second while a pod starts, because people wait for that second."""
    alive = {"path": "/livez", "port": "admin"}
    ready = {"path": "/readyz", "port": "admin"}
    return {
        "livenessProbe": {
            "failureThreshold": 3,
            "httpGet": alive,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {
            "failureThreshold": 2,
            "httpGet": ready,
            "periodSeconds": 2,
            "timeoutSeconds": 2,
        },
        "startupProbe": {
            "failureThreshold": STARTUP_SECONDS,
            "httpGet": alive,
            "periodSeconds": 1,
            "timeoutSeconds": 2,
        },
    }


def _init_containers(model: EmbeddingModel, settings: Settings) -> Manifest:
    """With an Ephemeral cache each pod fetches the resolved commit before it serves, without credentials;
    with a Node cache the first on its node does, and the others wait for its copy."""
    if not _fetches(model):
        return {}
    own = {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME}
    mount = node_mount(model.namespace) if on_node(model) else own
    return {"initContainers": [fetch_container(model, settings, name="fetch", mount=mount)]}


def _fetches(model: EmbeddingModel) -> bool:
    """Whether the pod sees to its copy."""
    return on_node(model) or (
        cache_claim(model) is None and model.spec.model.parsed.scheme != "oci"
    )


def _cache_volume(model: EmbeddingModel) -> Manifest:
    """The digest says what the image is, so what a node has of it is never pulled again."""
    source, claim = model.spec.model.parsed, cache_claim(model)
    if source.scheme == "oci":
        image = {"pullPolicy": "IfNotPresent", "reference": source.host}
        return {"image": image, "name": pods.CACHE_VOLUME}
    if claim is None:
        return {"emptyDir": {}, "name": pods.CACHE_VOLUME}
    read_only = {} if on_node(model) else {"readOnly": True}
    mounted = {"claimName": claim} | read_only
    return {"name": pods.CACHE_VOLUME, "persistentVolumeClaim": mounted}


def _cache_mount(model: EmbeddingModel) -> Manifest:
    source = model.spec.model.parsed
    if on_node(model):
        return node_mount(model.namespace) | {"readOnly": True}
    if source.scheme not in MOUNTED:
        return {"mountPath": CACHE_ROOT, "name": pods.CACHE_VOLUME, "readOnly": True}
    path = {"subPath": source.path} if source.path else {}
    where = f"{CACHE_ROOT}/{model.resolved.key}"
    return {"mountPath": where, "name": pods.CACHE_VOLUME, "readOnly": True} | path
