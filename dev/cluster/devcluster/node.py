"""Brings the node up in the one order that works, and takes it down.

Whatever fails on the way up, everything that was started is ended again; the logs stay, to be read.
"""

import shutil
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from devcluster import (
    cgroups,
    components,
    configs,
    holder,
    images,
    network,
    objects,
    pki,
    supervision,
)
from devcluster.api import Api, plain_answer
from devcluster.cluster import ROOT, Cluster, record
from devcluster.console import step
from devcluster.errors import TimedOut
from devcluster.supervision import Node
from devcluster.waiting import wait_until

GPU = "nvidia.com/gpu"
SIGTERM_GRACE_S = 2.0


def up(cluster: Cluster, programs: Path) -> None:
    """Start a cluster, from nothing or from the state that `down --keep` left."""
    fresh = not (cluster.state / "etcd").exists()
    try:
        _start(cluster, programs)
    except BaseException:
        with step(f"clean up after the failure (logs stay in {cluster.logs})"):
            stop(cluster)
            if fresh:
                _forget_all_but_logs(cluster)
        raise


def _start(cluster: Cluster, programs: Path) -> None:
    with step("write certificates and configurations"):
        for folder in (cluster.state, cluster.logs, cluster.volumes):
            folder.mkdir(parents=True, exist_ok=True)
        record(cluster)
        pki.create(cluster)
        configs.write(cluster)
    with step("make namespaces, cgroups and the cable"):
        cgroups.create(cluster)
        node = Node(cluster=cluster, holder=holder.start(cluster, programs / "pause"))
        network.connect(cluster, node.holder)
    api = Api(cluster)
    with step("start etcd, containerd and the API server"):
        node.start(components.etcd(cluster, programs))
        node.start(components.containerd(cluster, programs))
        node.start(components.apiserver(cluster, programs))
        node.wait("containerd", "listen", 30, partial(listens, cluster.containerd_socket))
    images.load(cluster, programs, programs / "pause.tar")
    with step("wait for the API server"):
        node.wait("kube-apiserver", "get ready", 90, api.ready)
    told = heard(api.get(f"/api/v1/nodes/{cluster.node}"))
    with step("start controllers, scheduler, kubelet, DNS and volumes"):
        node.start(components.controller_manager(cluster, programs))
        node.start(components.scheduler(cluster, programs))
        node.start(components.kubelet(cluster, programs))
        for manifest in objects.system(cluster):
            node.wait("kube-apiserver", "accept objects", 30, partial(api.apply, manifest))
        node.start(components.coredns(cluster, programs))
        node.start(components.volumes(cluster, programs))
    _wait_for_node(node, api, programs, told)


def listens(path: Path) -> bool:
    """Whether a server accepts connections; a socket's file may be that of an earlier one."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _wait_for_node(node: Node, api: Api, programs: Path, told: str | None) -> None:
    """told: when the kubelet was heard of last, before it started; a kept node is Ready until it speaks."""
    cluster = node.cluster
    path = f"/api/v1/nodes/{cluster.node}"
    with step("wait for the node to register"):
        node.wait("kubelet", "register the node", 60, lambda: api.get(path) is not None)
        # both exit when there is no node object yet
        node.start(components.proxy(cluster, programs))
        node.start(components.policies(cluster, programs))
    if cluster.gpus:
        set_gpus(cluster)
    with step("wait for node, service accounts, DNS and service routing"):
        node.wait("kubelet", "make the node Ready", 60, lambda: is_ready(api.get(path), told))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        node.wait(
            "kube-controller-manager",
            "make the service account",
            30,
            lambda: api.get(account) is not None,
        )
        address = cluster.node_address
        node.wait("coredns", "get ready", 30, lambda: plain_answer(address, 8181, "/ready"))
        node.wait("kube-proxy", "get healthy", 30, lambda: plain_answer(address, 10256, "/healthz"))


def set_gpus(cluster: Cluster) -> None:
    """Pretend GPUs: the kubelet copies what is in the capacity into what pods may have."""
    with step(f"pretend {cluster.gpus} GPUs"):
        api, path = Api(cluster), f"/api/v1/nodes/{cluster.node}"
        count = {GPU: str(cluster.gpus)}
        api.merge(f"{path}/status", {"status": {"capacity": count, "allocatable": count}})

        def allocatable() -> bool:
            found = api.get(path)
            return found is not None and found["status"]["allocatable"].get(GPU) == count[GPU]

        wait_until(f"{cluster.gpus} allocatable GPUs", 20, allocatable)


def is_ready(node: objects.Manifest | None, told: str | None = None) -> bool:
    """told: the word that was heard before, which does not count."""
    condition = _condition(node)
    return condition.get("status") == "True" and condition.get("lastHeartbeatTime") != told


def heard(node: objects.Manifest | None) -> str | None:
    """When its kubelet last told whether it is Ready."""
    return _condition(node).get("lastHeartbeatTime")


def _condition(node: objects.Manifest | None) -> dict[str, str]:
    conditions = node["status"].get("conditions", ()) if node else ()
    return next((dict(each) for each in conditions if each["type"] == "Ready"), {})


def crash(cluster: Cluster, programs: Path, name: str, seconds: float) -> None:
    """SIGKILL to a component, and a new process of it after so many seconds, as an init system would do."""
    with step(f"kill {name}"):
        supervision.kill(cluster, name)
    if seconds:
        with step(f"leave {name} away for {seconds:g} s"):
            time.sleep(seconds)
    with step(f"start {name} again"):
        node = Node(cluster=cluster, holder=holder.require(cluster))
        node.start(components.PARTS[name](cluster, programs), again=True)


def down(cluster: Cluster, *, keep: bool) -> None:
    """End the cluster. Without KEEP its state goes too."""
    with step(f"end {cluster.name}"):
        if keep:
            _end_gently(cluster)
        stop(cluster)
    if not keep:
        with step("remove its state"):
            remove(cluster.state)


def _end_gently(cluster: Cluster) -> None:
    """Let the writers of kept state finish: the API server first, as it holds etcd's connections."""
    for name in ("kube-apiserver", "etcd"):
        supervision.terminate(cluster, name)
        with suppress(TimedOut):
            wait_until(f"{name} to end", SIGTERM_GRACE_S, partial(supervision.ended, cluster, name))


def stop(cluster: Cluster) -> None:
    """End all that runs. May be called whatever of it was started."""
    holder.end(cluster)
    network.disconnect(cluster)
    cgroups.remove(cluster)
    supervision.forget(cluster)


def _forget_all_but_logs(cluster: Cluster) -> None:
    for path in sorted(cluster.state.iterdir()):
        if path == cluster.logs:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove(state: Path) -> None:
    """Remove a cluster's state folder, and the folder of all once it is empty."""
    shutil.rmtree(state)
    with suppress(OSError):  # another cluster's state is in it
        ROOT.rmdir()
