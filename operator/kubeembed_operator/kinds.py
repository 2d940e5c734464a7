"""The kinds of object that the operator reads or writes, and where the API server has them.

Written down rather than discovered: they are few and stable, and asking for them at each start costs calls.
"""

from dataclasses import dataclass
from typing import Any

from kubeembed_api.names import GROUP, KIND, PLURAL, VERSION

#: An object as JSON has it. Builders return new ones; nobody changes one that it was given.
Manifest = dict[str, Any]

#: Namespace and name of an object; of a model, this is what the work queue holds.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object. `group` is empty for the core kinds."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


MODEL = Kind(GROUP, VERSION, KIND, PLURAL)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
SERVICE = Kind("", "v1", "Service", "services")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
JOB = Kind("batch", "v1", "Job", "jobs")
POD = Kind("", "v1", "Pod", "pods")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
EVENT = Kind("events.k8s.io", "v1", "Event", "events")
CORE_EVENT = Kind("", "v1", "Event", "events")
SCALED_OBJECT = Kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects")

#: What is watched beside the models: by label, so that a cluster's other objects cost nothing.
CHILDREN = (
    DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    CLAIM,
    JOB,
    POD,
    NETWORK_POLICY,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
)

#: Children of kinds that others bring. They are listed and not watched, because a watch of a kind that is not
#: there never begins.
LISTED = (SCALED_OBJECT,)

_BY_NAME = {(kind.api_version, kind.name): kind for kind in (MODEL, VOLUME, *CHILDREN, *LISTED)}


def kind_of(manifest: Manifest) -> Kind:
    """Raises KeyError for a kind that is none of ours."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]


def key_of(manifest: Manifest) -> Key:
    """The namespace is empty for what is in none."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
