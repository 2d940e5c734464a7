"""What a cluster is and where its parts are, as plain values for people and for programs."""

from pathlib import Path
from typing import Any

from devcluster import holder, node, supervision
from devcluster.api import Api
from devcluster.cluster import Cluster
from devcluster.components import NAMES


def of(cluster: Cluster, programs: Path) -> dict[str, Any]:
    """One cluster. `up` is true when every component runs and the node is Ready."""
    missing = absent(cluster)
    return {
        "name": cluster.name,
        "up": not missing,
        "missing": missing,
        "node": cluster.node,
        "server": f"https://{cluster.node_address}:6443",
        "kubeconfig": str(cluster.kubeconfig()),
        "nodeAddress": cluster.node_address,
        "hostAddress": cluster.host_address,
        "dnsAddress": cluster.dns_address,
        "pods": cluster.pods,
        "services": cluster.services,
        "gpus": cluster.gpus,
        "auditLog": str(cluster.audit_log) if cluster.audit else None,
        "logs": str(cluster.logs),
        "volumes": str(cluster.volumes),
        "registries": str(cluster.state / "certs.d"),
        "kubectl": str(programs / "kubectl"),
        "helm": str(programs / "helm"),
    }


def absent(cluster: Cluster) -> list[str]:
    """Components that do not run, and `ready node` when the node is not Ready."""
    if holder.pid_of(cluster) is None:
        return list(NAMES)
    running = supervision.running(cluster)
    missing = [name for name in NAMES if name not in running]
    ready = not missing and node.is_ready(Api(cluster).get(f"/api/v1/nodes/{cluster.node}"))
    return missing if ready or missing else ["ready node"]


def as_text(status: dict[str, Any]) -> str:
    """The same for people: one `key  value` a line, the verdict first."""
    if status["up"]:
        verdict = "up"
    elif set(NAMES) <= set(status["missing"]):
        verdict = "down"
    else:
        verdict = f"broken: no {', '.join(status['missing'])}"
    rows = {"": f"{status['name']}: {verdict}"} | {
        key: value
        for key, value in status.items()
        if key not in ("name", "up", "missing") and value is not None
    }
    return "\n".join(f"  {key:<12} {value}" if key else str(value) for key, value in rows.items())
