"""KEDA's ScaledObject of a model: who is scaled, within which bounds, and where KEDA asks for the load.

All that the figure depends on stands in its address, so that whoever answers there need not know the model.
"""

from urllib.parse import urlencode

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.names import SERVING
from kubeembed_api.scaling import Schedule
from kubeembed_operator.kinds import DEPLOYMENT, SCALED_OBJECT, Manifest
from kubeembed_operator.manifests.metadata import child

#: KEDA adds it where it is missing, and finds the object by it.
NAME_LABEL = "scaledobject.keda.sh/name"
#: Seconds between two questions; and until an idle model loses its pods, beyond idleAfter.
POLLING, COOLDOWN = 5, 1
#: What each pod is to have: the figure is in per cent of the targets.
TARGET = 100
#: Longer than the first answer takes, which needs two looks at the pods.
TIMEOUT = "10s"


def scaled_object(model: EmbeddingModel, url: str) -> Manifest:
    """url: of the operator's Service."""
    scaling = model.spec.scaling
    made = child(SCALED_OBJECT, model.name, model, SERVING)
    labels = {**made["metadata"]["labels"], NAME_LABEL: model.name}
    return {
        **made,
        "metadata": {**made["metadata"], "labels": labels},
        "spec": {
            "cooldownPeriod": COOLDOWN,
            "maxReplicaCount": scaling.max,
            "minReplicaCount": scaling.min,
            "pollingInterval": POLLING,
            "scaleTargetRef": {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.name,
                "name": model.name,
            },
            "triggers": [_load(model, url), *map(_cron, scaling.schedules)],
        },
    }


def _load(model: EmbeddingModel, url: str) -> Manifest:
    target = model.spec.scaling.target
    asked = {"utilization": target.utilization, "queueSeconds": target.queue_seconds}
    if model.spec.scaling.may_sleep:
        asked["idleSeconds"] = model.spec.scaling.idle_seconds
    return {
        "metadata": {
            "targetValue": str(TARGET),
            "timeout": TIMEOUT,
            "url": f"{url}/load/{model.namespace}/{model.name}?{urlencode(asked)}",
            "valueLocation": "load",
        },
        "metricType": "AverageValue",
        "type": "metrics-api",
    }


def _cron(schedule: Schedule) -> Manifest:
    return {
        "metadata": {
            "desiredReplicas": str(schedule.min),
            "end": schedule.end,
            "start": schedule.start,
            "timezone": schedule.time_zone,
        },
        "metricType": "AverageValue",
        "type": "cron",
    }
