"""The node's namespaces (mount, network, process), and the one process that holds them.

`pause` is process 1 inside. A SIGKILL to it ends every component, shim and pod at once, and their mounts and
interfaces with them: that is why nothing else has to be cleaned up one by one.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.errors import ClusterError
from devcluster.process import CLEAN_ENVIRONMENT, alive, first_child, run, start_time
from devcluster.waiting import wait_until

# Kernel settings that the kubelet writes; it gets copies, so that the machine keeps its own.
KUBELET_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Run inside, with the state folder as $1 and the settings as the rest. Sharing comes last, so that the mounts
# before it stay the node's own.
FURNISH = """
state=$1; shift
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$state/pod-logs" /var/log
for folder in /var/lib/cni /var/lib/kubelet; do
  mkdir -p "$folder" "/run/private$folder"
  mount --bind "/run/private$folder" "$folder"
done
mkdir -p "$state/settings"
for setting; do
  copy=$state/settings/$(echo "$setting" | tr / _)
  cat "/proc/sys/$setting" >"$copy"
  mount --bind "$copy" "/proc/sys/$setting"
done
mount --make-rshared /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
"""


def start(cluster: Cluster, pause: Path) -> int:
    """Make the namespaces and furnish them. Returns the holder's pid."""
    argv = [
        "unshare",
        "-m",
        "-n",
        "-p",
        "-f",
        "--mount-proc",
        "--kill-child",
        "--propagation",
        "private",
    ]
    unshare = subprocess.Popen(
        [*argv, str(pause)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=CLEAN_ENVIRONMENT,
        start_new_session=True,
    )
    try:
        wait_until("the namespaces", 10, lambda: _is_pause(first_child(unshare.pid), pause))
    except BaseException:
        unshare.kill()  # and with it the child
        raise
    pid = first_child(unshare.pid)
    assert pid is not None
    _record(cluster).write_text(
        json.dumps({"pid": pid, "start": start_time(pid)}), encoding="utf-8"
    )
    run([*enter(pid), "sh", "-euc", FURNISH, "furnish", cluster.state, *KUBELET_SETTINGS])
    return pid


def _is_pause(pid: int | None, pause: Path) -> bool:
    """unshare's child becomes pause only after it has mounted the new /proc."""
    try:
        return pid is not None and os.readlink(f"/proc/{pid}/exe") == str(pause.resolve())
    except FileNotFoundError:
        return False


def enter(pid: int) -> list[str]:
    """Words that, before a command, run it on the node. nsenter forks: the command is its child."""
    return ["nsenter", "-t", str(pid), "-m", "-n", "-p", "--wd=/"]


def pid_of(cluster: Cluster) -> int | None:
    """The running holder; None when the cluster is down. The start time tells a pid that was used again."""
    try:
        known = json.loads(_record(cluster).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    pid = int(known["pid"])
    return pid if alive(pid) and start_time(pid) == known["start"] else None


def require(cluster: Cluster) -> int:
    pid = pid_of(cluster)
    if pid is None:
        raise ClusterError(
            f"{cluster.name} is down; `python3 dev/cluster up {cluster.name}` starts it"
        )
    return pid


def end(cluster: Cluster) -> None:
    """Kill everything on the node. Returns once it is gone."""
    pid = pid_of(cluster)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        wait_until("the node's processes to end", 10, lambda: not alive(pid))
    _record(cluster).unlink(missing_ok=True)


def _record(cluster: Cluster) -> Path:
    return cluster.state / "holder.json"
