"""Where the pods of a model go, what hardware they get, and how they make room for each other."""

from typing import Any

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import SERVING, serving_name
from kubeembed_operator.kinds import DISRUPTION_BUDGET, Manifest
from kubeembed_operator.manifests.metadata import child, selector
from kubeembed_operator.settings import Profile

#: Of a roll-out: one more pod than there should be, and never one less.
SURGE: Manifest = {
    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    "type": "RollingUpdate",
}
#: Where there is no room for one more: an old pod goes, and a new one takes its place.
REPLACE: Manifest = {
    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    "type": "RollingUpdate",
}
RECREATE: Manifest = {"type": "Recreate"}

#: How a pod calls the devices that it gets by dynamic resource allocation.
DEVICE = "device-{}"


def strategy(model: EmbeddingModel, *, replaces: bool, idle: bool = False) -> Manifest:
    """idle: no request comes to the old pods any more, so they make room at once."""
    if idle or model.spec.rollout.strategy == "Recreate":
        return RECREATE
    return REPLACE if replaces else SURGE


def placement(model: EmbeddingModel, profile: Profile, component: str = SERVING) -> Manifest:
    """Only what the profile sets: an empty value would be dropped by the API server and look like drift."""
    wanted: dict[str, Any] = {
        "nodeSelector": dict(sorted(profile.node_selector.items())),
        "priorityClassName": profile.priority_class_name,
        "resourceClaims": [
            {"name": name, "resourceClaimTemplateName": profile.resource_claim_template_name}
            for name in _devices(model, profile)
        ],
        "runtimeClassName": profile.runtime_class_name,
        "tolerations": [dict(toleration) for toleration in profile.tolerations],
        "topologySpreadConstraints": [_spread(model, component)],
    }
    return {field: value for field, value in wanted.items() if value}


def hardware(model: EmbeddingModel, profile: Profile) -> Manifest:
    """The `resources` of the container, as many times as the document says."""
    told = profile.resources.times(model.spec.resources.count)
    wanted: dict[str, Any] = {
        "claims": [{"name": name} for name in _devices(model, profile)],
        "limits": dict(sorted(told.limits.items())),
        "requests": dict(sorted(told.requests.items())),
    }
    found = {field: value for field, value in wanted.items() if value}
    return {"resources": found} if found else {}


def wants_disruption_budget(model: EmbeddingModel) -> bool:
    """Whether there may ever be two pods. One alone is not protected: it could never be drained."""
    scaling = model.spec.scaling
    return scaling.mode == "External" or scaling.max > 1


def disruption_budget(model: EmbeddingModel, component: str = SERVING) -> Manifest:
    """One pod at a time may be evicted, so a drain goes on whatever the number of pods; and one that does not
    serve always may, so that no broken pod holds a node."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(model, component)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    name = serving_name(model.name, component)
    return {**child(DISRUPTION_BUDGET, name, model, component), "spec": spec}


def _spread(model: EmbeddingModel, component: str) -> Manifest:
    """Over nodes, as far as there are any. Pods of an earlier template do not count."""
    return {
        "labelSelector": {"matchLabels": selector(model, component)},
        "matchLabelKeys": ["pod-template-hash"],
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    }


def _devices(model: EmbeddingModel, profile: Profile) -> list[str]:
    if profile.resource_claim_template_name is None:
        return []
    return [DEVICE.format(number) for number in range(model.spec.resources.count)]
