"""The files that components read, as text and plain values; `write` puts them into the state folder."""

import base64
import json
import shutil
from typing import Any

from devcluster.cluster import Cluster
from devcluster.packages import CNI_PLUGINS
from devcluster.pause import IMAGE
from devcluster.pki import users
from devcluster.process import PATH

Document = dict[str, Any]


def write(cluster: Cluster) -> None:
    """Write every configuration file; they are made anew at each start."""
    state = cluster.state
    for folder in ("cni", "certs.d", "etcd", "kubelet", "pod-logs", "volume-plugins"):
        (state / folder).mkdir(exist_ok=True)
    (state / "etcd").chmod(0o700)
    for user in users(cluster):
        path = cluster.kubeconfig(user.file)
        path.touch(mode=0o600)
        path.write_text(_json(kubeconfig(cluster, user.file)), encoding="utf-8")
    runc = shutil.which("runc", path=PATH) or "runc"
    (state / "containerd.toml").write_text(containerd(cluster, runc), encoding="utf-8")
    (state / "Corefile").write_text(corefile(cluster), encoding="utf-8")
    (state / "kubelet.json").write_text(_json(kubelet(cluster)), encoding="utf-8")
    (state / "audit-policy.json").write_text(_json(AUDIT_POLICY), encoding="utf-8")
    (state / "cni" / "10-pods.conflist").write_text(_json(pod_network(cluster)), encoding="utf-8")


def _json(document: Document) -> str:
    """JSON, which is YAML too."""
    return json.dumps(document, indent=1)


def kubeconfig(cluster: Cluster, user: str) -> Document:
    """A kubeconfig that carries its certificates, so that it may be copied."""

    def embedded(file: str) -> str:
        return base64.b64encode((cluster.pki / file).read_bytes()).decode()

    server = {
        "server": f"https://{cluster.node_address}:6443",
        "certificate-authority-data": embedded("ca.crt"),
    }
    client = {
        "client-certificate-data": embedded(f"{user}.crt"),
        "client-key-data": embedded(f"{user}.key"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster.name, "cluster": server}],
        "users": [{"name": user, "user": client}],
        "contexts": [{"name": cluster.name, "context": {"cluster": cluster.name, "user": user}}],
        "current-context": cluster.name,
    }


def containerd(cluster: Cluster, runc: str) -> str:
    """restrict_oom_score_adj: the node may run without CAP_SYS_RESOURCE."""
    return f"""version = 3
root = "{cluster.state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{cluster.containerd_socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{IMAGE}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{cluster.state}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{cluster.state}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"""


def pod_network(cluster: Cluster) -> Document:
    """`ptp`, not `bridge`: on a bridge pods answer each other directly, past a Service's translation."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": cluster.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni-addresses",
                },
            }
        ],
    }


def kubelet(cluster: Cluster) -> Document:
    """Image collection is off: an image that was loaded by hand could not be pulled again."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(cluster.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(cluster.pki / "kubelet.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [cluster.dns_address],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
        "volumePluginDir": str(cluster.state / "volume-plugins"),
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        "maxPods": 250,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
    }


def corefile(cluster: Cluster) -> str:
    """Two blocks, as `template` answers before `kubernetes` within one. No other name server is asked."""
    return f"""cluster.local in-addr.arpa {{
  bind {cluster.node_address}
  errors
  ready {cluster.node_address}:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {cluster.kubeconfig("coredns")}
    pods insecure
    ttl 5
  }}
  cache 5
}}
. {{
  bind {cluster.node_address}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


# Who did what to which object, for every request, once it has been answered.
AUDIT_POLICY: Document = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
