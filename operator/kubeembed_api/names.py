"""The words that operator, fetch Job and serving pods have to spell alike: labels, ports, paths."""

from typing import Final

GROUP: Final = "kubeembed.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "EmbeddingModel"
PLURAL: Final = "embeddingmodels"

#: Who applies: the field manager of server-side apply, of the replica count alone, of the note that the count
#: is KEDA's, of the pause alone, and of notes on claims.
FIELD_MANAGER: Final = "kubeembed"
SCALE_MANAGER: Final = "kubeembed-scaler"
KEDA_MANAGER: Final = "kubeembed-keda"
PAUSE_MANAGER: Final = "kubeembed-pause"
CACHE_MANAGER: Final = "kubeembed-caches"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE: Final = "kubeembed"
COMPONENT: Final = "app.kubernetes.io/component"
MODEL_LABEL: Final = f"{GROUP}/model"
SERVING: Final = "serving"
#: Pods that wait to be promoted: of another Deployment, behind a Service of their own.
NEXT: Final = "next"
WEIGHTS: Final = "weights"
ADAPTER: Final = "adapter"
COLLECT: Final = "collect"
GATEWAY: Final = "gateway"

#: The Lease that says which operator acts, in the namespace of the chart's release.
LEASE: Final = "kubeembed-operator"

#: The front door: its Deployment, Service and ServiceAccount are the chart's. The field manager of its wakes.
GATEWAY_NAME: Final = "kubeembed-gateway"
GATEWAY_MANAGER: Final = "kubeembed-gateway"
#: Of a model's Service: the port of every gateway pod that belongs to this model alone.
ACTIVATOR_PORT_ANNOTATION: Final = f"{GROUP}/activator-port"
ACTIVATOR_PORTS: Final = range(20000, 30000)
#: Value of endpointslice.kubernetes.io/managed-by of the slices that lead to the gateway.
SLICE_MANAGER: Final = "gateway.kubeembed.dev"

#: Annotations of children: hash of the manifest as applied, of the document the pod was started with.
APPLIED_ANNOTATION: Final = f"{GROUP}/applied"
DOCUMENT_ANNOTATION: Final = f"{GROUP}/document"
REPLICAS_ANNOTATION: Final = f"{GROUP}/replicas"
PAUSED_ANNOTATION: Final = f"{GROUP}/paused"
#: Of a claim: what the operator noted of the cache on it. Of a collecting Job: which keys it keeps, and when
#: that was decided.
CACHE_ANNOTATION: Final = f"{GROUP}/cache"
KEYS_ANNOTATION: Final = f"{GROUP}/keys"
DECIDED_ANNOTATION: Final = f"{GROUP}/decided"
NODE_ANNOTATION: Final = f"{GROUP}/node"
#: Of serving pods: the list of adapters that they read.
ADAPTERS_ANNOTATION: Final = f"{GROUP}/adapters"
#: Set on a claim by a person: keys that are to go as soon as no model uses them. Of a collecting Job: those
#: that it was told.
REMOVE_ANNOTATION: Final = f"{GROUP}/remove"
#: Set on a model by a person: change its value and the revision is resolved anew.
RESOLVE_ANNOTATION: Final = f"{GROUP}/resolve"

#: Set on a model by a person: the fingerprint of the next pods that its Service is to point at.
PROMOTE_ANNOTATION: Final = f"{GROUP}/promote"

#: The Service's port, and the container's: contracts for applications, then health and metrics.
SERVICE_PORT: Final = 80
HTTP_PORT: Final = 8080
ADMIN_PORT: Final = 8081

#: Everything of ours runs as this user and group, which the cache volume is writable for.
RUN_AS: Final = 10001

CACHE_ROOT: Final = "/var/cache/kubeembed"
#: Where adapters are where the weights are on a claim of the user's (pvc://).
ADAPTERS_ROOT: Final = "/var/cache/kubeembed-adapters"
DOCUMENT_FILE: Final = "model.yaml"
DOCUMENT_FOLDER: Final = "/etc/kubeembed"
#: Beside the document: the adapters that a starting pod serves, from one of the lists in the ConfigMap.
ADAPTERS_FILE: Final = "adapters.json"
ADAPTERS_KEY: Final = "adapters-{}.json"
#: Of serving pods: the name of the template that they are made of. Of the ConfigMap: the key that says that
#: all pods of that template were ready, which a pod that is held to golden vectors sees as a file.
TEMPLATE_ANNOTATION: Final = f"{GROUP}/template"
ROLLED_OUT_KEY: Final = "rolled-out-{}"
ROLLED_OUT_FOLDER: Final = "/etc/kubeembed-roll-out"
ROLLED_OUT_FILE: Final = f"{ROLLED_OUT_FOLDER}/rolled-out"
#: API keys: the key of the user's Secret, one per line, and where the pod sees it, in a folder that has the
#: name of the Secret.
API_KEYS: Final = "api-keys"
API_KEYS_FOLDER: Final = "/etc/kubeembed-keys"
#: Where the pod sees golden vectors, in a folder that has the name of the user's ConfigMap; and, in an
#: annotation of its template, which ones it is held to: two digests.
GOLDEN_FOLDER: Final = "/etc/kubeembed-golden"
GOLDEN_ANNOTATION: Final = f"{GROUP}/golden"
#: Certificates of private CAs: the key of the ConfigMap, and the fetch Job's variable that names the file.
CA_FILE: Final = "ca.crt"
CA_CERTIFICATES: Final = "KUBEEMBED_CA_CERTIFICATES"
TERMINATION_LOG: Final = "/dev/termination-log"

#: The claim of the Shared cache, one per namespace, where the document names no other.
SHARED_CLAIM: Final = "kubeembed-weights"
#: The claim of the Node cache, one per namespace: on each node it is a folder of that node.
NODE_CLAIM: Final = "kubeembed-node-weights"


def fetch_job_name(model: str, request: str) -> str:
    """Name of the Job that fetches what `request` (8 hex digits) asks for. At most 54 characters."""
    return f"{model}-fetch-{request}"


def adapter_job_name(model: str, request: str) -> str:
    """Name of the Job that fetches one adapter. At most 56 characters."""
    return f"{model}-adapter-{request}"


def activator_slice_name(model: str) -> str:
    """Name of the EndpointSlice that leads the requests of a sleeping model to the gateway."""
    return f"{model}-activator"


def serving_name(model: str, component: str) -> str:
    """Name of Deployment, Service and budget of the pods of that component. At most 45 characters."""
    return f"{model}-next" if component == NEXT else model


def endpoint(model: str, namespace: str) -> str:
    """The URL that applications in the cluster call."""
    return f"http://{model}.{namespace}.svc"
