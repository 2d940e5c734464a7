"""One cluster as a value: its name, number and options, and every address and path that follow from them.

The number keeps clusters apart: with I = 0 to 49 the node is 10.250.I.1, the machine's end of its cable
10.250.I.254; pods live in 10.(100+I).0.0/16 and services in 10.(200+I).0.0/16.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from devcluster.errors import ClusterError

ROOT = Path("/var/lib/kubeembed-cluster")
NUMBERS = range(50)
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`flags` are additions to a component's command line, as pairs (component, flag)."""

    name: str
    number: int
    gpus: int = 0
    audit: bool = False
    flags: tuple[tuple[str, str], ...] = ()

    @property
    def state(self) -> Path:
        return ROOT / self.name

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    @property
    def node(self) -> str:
        return f"{self.name}-node"

    @property
    def link(self) -> str:
        """The machine's end of the cable (an interface's name has at most 15 characters)."""
        return f"kubeembed{self.number}"

    @property
    def cgroup(self) -> str:
        return f"kubeembed-{self.name}"

    @property
    def node_address(self) -> str:
        return f"10.250.{self.number}.1"

    @property
    def host_address(self) -> str:
        """Where pods reach servers that run on the machine."""
        return f"10.250.{self.number}.254"

    @property
    def pods(self) -> str:
        return f"10.{100 + self.number}.0.0/16"

    @property
    def services(self) -> str:
        return f"10.{200 + self.number}.0.0/16"

    @property
    def api_service_address(self) -> str:
        return f"10.{200 + self.number}.0.1"

    @property
    def dns_address(self) -> str:
        return f"10.{200 + self.number}.0.10"

    @property
    def networks(self) -> tuple[str, str, str]:
        return (f"10.250.{self.number}.0/24", self.pods, self.services)

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.state / f"{user}.kubeconfig"


def record(cluster: Cluster) -> None:
    """Remember the cluster, so that every later command finds it by name."""
    (cluster.state / "cluster.json").write_text(json.dumps(asdict(cluster)), encoding="utf-8")


def find(name: str) -> Cluster | None:
    """The cluster of that name, up or kept; None when there is none. Raises ClusterError on a bad name."""
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"cluster name {name!r}: write up to 32 of a-z, 0-9 and -, with no - at either end"
        )
    try:
        fields = json.loads((ROOT / name / "cluster.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Cluster(**fields | {"flags": tuple((part, flag) for part, flag in fields["flags"])})


def require(name: str) -> Cluster:
    """The cluster of that name. Raises ClusterError when there is none."""
    cluster = find(name)
    if cluster is None:
        have = ", ".join(each.name for each in every()) or "none"
        raise ClusterError(
            f"no cluster {name!r} (have: {have}); `python3 dev/cluster up {name}` makes it"
        )
    return cluster


def every() -> list[Cluster]:
    """All clusters of this machine, by name."""
    names = sorted(path.parent.name for path in ROOT.glob("*/cluster.json"))
    return [cluster for name in names if (cluster := find(name))]
