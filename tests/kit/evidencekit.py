"""Objects as an API server lists them, for diagnoses: a model, its children, and an operator's."""

from datetime import UTC, datetime
from typing import Any

from kubeembed_cli.evidence import Evidence
from kubeembed_cli.installation import Installation

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
FRESH, OLD = "2026-01-01T11:59:58.000000Z", "2026-01-01T11:50:00.000000Z"

Manifest = dict[str, Any]


def metadata(name: str, namespace: str = "search", **more: Any) -> Manifest:
    return {"name": name, "namespace": namespace, "uid": f"uid-{name}", **more}


def model(reason: str, message: str = "", *, part: str = "", **status: Any) -> Manifest:
    """EmbeddingModel minilm; Ready repeats the reason of `part`, where it names one."""
    good = reason == "Ready"
    told = {"status": "True" if good else "False", "reason": reason, "message": message}
    ready = {"type": "Ready", "lastTransitionTime": "2026-01-01T11:58:00Z", **told}
    parts = [{"type": part, **told}] if part else []
    return {
        "metadata": metadata("minilm", generation=3),
        "status": {"conditions": [ready, *parts], "observedGeneration": 3, **status},
    }


def pod(name: str, component: str, *containers: Manifest, **status: Any) -> Manifest:
    """Pending unless `status` says otherwise."""
    labels = {"kubeembed.dev/model": "minilm", "app.kubernetes.io/component": component}
    told = {"phase": "Pending", "containerStatuses": list(containers), **status}
    made = metadata(name, labels=labels, creationTimestamp="2026-01-01T11:55:00Z")
    return {"metadata": made, "spec": {}, "status": told}


def container(name: str = "runtime", *, restarts: int = 0, **state: Any) -> Manifest:
    """state: of now, and `last` for the one before."""
    last = state.pop("last", None)
    return {
        "name": name,
        "image": "runtime:1",
        "ready": False,
        "restartCount": restarts,
        "state": state,
        **({"lastState": {"terminated": last}} if last else {}),
    }


def warning(one: Manifest, reason: str, message: str, at: str = OLD) -> Manifest:
    """An Event about an object."""
    about = {"uid": one["metadata"]["uid"]}
    return {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at}


def installation(renewed: str = FRESH, **more: Any) -> Installation:
    """An operator that acts, unless its Lease is old."""
    spec = {"holderIdentity": "op-1", "renewTime": renewed, "leaseDurationSeconds": 13}
    lease = {"metadata": metadata("kubeembed-operator", "system"), "spec": spec}
    return Installation(**{"namespace": "system", "lease": lease, **more})


def deployment(name: str, namespace: str = "search", replicas: int = 1, ready: int = 0) -> Manifest:
    return {
        "metadata": metadata(name, namespace),
        "spec": {"replicas": replicas},
        "status": {"readyReplicas": ready},
    }


def evidence(model: Manifest, **found: Any) -> Evidence:
    """With an operator that acts."""
    return Evidence(**{"installations": (installation(),), "now": NOW, "model": model, **found})
