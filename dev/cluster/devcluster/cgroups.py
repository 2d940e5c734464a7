"""One cgroup for each cluster, so that two kubelets do not tidy up each other's pods.

Both layouts are handled, v1 (one folder for each hierarchy) and v2 (one folder in all).
"""

import os
from contextlib import suppress
from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.waiting import wait_until

MOUNT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The one of v2, or each of v1 (and of a hybrid layout)."""
    if (MOUNT / "cgroup.controllers").exists():
        return [MOUNT]
    return [
        path
        for path in sorted(MOUNT.iterdir())
        if path.is_dir() and (path / "cgroup.procs").exists()
    ]


def create(cluster: Cluster) -> None:
    """Make the cluster's cgroup in every hierarchy, ready to have children."""
    for hierarchy in hierarchies():
        ours = hierarchy / cluster.cgroup
        if (hierarchy / "cgroup.controllers").exists():
            _hand_down_controllers(hierarchy)
        ours.mkdir(exist_ok=True)
        for name in (
            "cpuset.cpus",
            "cpuset.mems",
        ):  # v1: empty at first, and then no process may join
            if (
                hierarchy != MOUNT
                and (ours / name).exists()
                and not (ours / name).read_text().strip()
            ):
                (ours / name).write_text((hierarchy / name).read_text())


def _hand_down_controllers(hierarchy: Path) -> None:
    """v2: a child has only the controllers that its parent hands down. What can't be is left out."""
    for controller in (hierarchy / "cgroup.controllers").read_text().split():
        with suppress(OSError):
            (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(cluster: Cluster) -> None:
    """Remove the cluster's cgroups, deepest first, as soon as the kernel has emptied them."""
    wait_until("the cgroups to empty", 10, lambda: all([_removed(each) for each in left(cluster)]))


def left(cluster: Cluster) -> list[Path]:
    """The cluster's top cgroups that exist."""
    return [path for each in hierarchies() if (path := each / cluster.cgroup).is_dir()]


def _removed(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not top.exists()
