"""Questions to the API server -> the evidence about one model. Reads, and writes nothing."""

from datetime import UTC, datetime

from kubeembed_api.names import COMPONENT, LEASE, MODEL_LABEL, PLURAL
from kubeembed_api.podreasons import Manifest
from kubeembed_cli.cluster import Cluster
from kubeembed_cli.errors import Forbidden, NoSuchModel
from kubeembed_cli.evidence import Evidence
from kubeembed_cli.installation import Installation, put_together

#: The labels that the chart puts on the operator's objects.
SELECTOR = f"app.kubernetes.io/name=kubeembed,{COMPONENT}=operator"
#: Warnings of a namespace that are read. The newest of each object is used.
EVENTS = "500"


def gather(cluster: Cluster, name: str) -> Evidence:
    """Raises NoSuchModel, ChartMissing and whatever keeps the API server from answering."""
    model = find_model(cluster, name)
    mine = f"{MODEL_LABEL}={name}"
    pods = cluster.list("pods", labelSelector=mine)
    return Evidence(
        model=model,
        deployment=cluster.find("deployments", name),
        jobs=tuple(cluster.list("jobs", labelSelector=mine)),
        pods=tuple(pods),
        claims=_claims(cluster, pods),
        warnings=tuple(cluster.list("events", fieldSelector="type=Warning", limit=EVENTS)),
        installations=installations(cluster),
        now=cluster.now or datetime.now(UTC),
    )


def find_model(cluster: Cluster, name: str) -> Manifest:
    """Raises NoSuchModel, ChartMissing."""
    here = cluster.list(PLURAL)
    for model in here:
        if model["metadata"]["name"] == name:
            return model
    try:
        elsewhere = cluster.list(PLURAL, everywhere=True, fieldSelector=f"metadata.name={name}")
    except Forbidden:
        elsewhere = []
    raise NoSuchModel(
        name,
        cluster.namespace,
        sorted(model["metadata"]["name"] for model in here),
        sorted(model["metadata"]["namespace"] for model in elsewhere),
    )


def _claims(cluster: Cluster, pods: list[Manifest]) -> tuple[Manifest, ...]:
    """Those that the pods mount."""
    names = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        for volume in pod["spec"].get("volumes") or ()
        if "persistentVolumeClaim" in volume
    }
    found = (cluster.find("persistentvolumeclaims", name) for name in sorted(names))
    return tuple(claim for claim in found if claim is not None)


def installations(cluster: Cluster) -> tuple[Installation, ...] | None:
    """All of the cluster; None where whoever asks may not look at other namespaces."""
    try:
        leases = cluster.list("leases", everywhere=True, fieldSelector=f"metadata.name={LEASE}")
        found = [
            cluster.list(plural, everywhere=True, labelSelector=SELECTOR)
            for plural in ("deployments", "configmaps", "pods")
        ]
    except Forbidden:
        return None
    return put_together(leases, *found)
