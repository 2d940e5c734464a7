"""The command line of each component. Pure: a cluster and the folder of programs in, words out.

Every flag that is not plain has its reason beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.process import PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A process of the node; its log is NAME.log."""

    name: str
    argv: tuple[str, ...]


def etcd(cluster: Cluster, programs: Path) -> Component:
    """No fsync: the data need to outlive the processes, not the machine."""
    return _component(
        cluster,
        "etcd",
        f"{programs}/etcd",
        f"--name={cluster.name}",
        f"--data-dir={cluster.state}/etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )


def containerd(cluster: Cluster, programs: Path) -> Component:
    """Its shim is found on the path."""
    return _component(
        cluster,
        "containerd",
        "env",
        f"PATH={programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"{programs}/containerd",
        f"--config={cluster.state}/containerd.toml",
    )


def apiserver(cluster: Cluster, programs: Path) -> Component:
    """The endpoint reconciler stays at its default: with `none` no pod reaches kubernetes.default.svc."""
    pki = cluster.pki
    audit = (
        f"--audit-policy-file={cluster.state}/audit-policy.json",
        f"--audit-log-path={cluster.audit_log}",
        "--audit-log-maxsize=10000",  # MB; at the default of 100 it would be split
    )
    return _component(
        cluster,
        "kube-apiserver",
        f"{programs}/kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={cluster.node_address}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={cluster.services}",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
        *(audit if cluster.audit else ()),
    )


def controller_manager(cluster: Cluster, programs: Path) -> Component:
    """500 requests a second: the default of 20 holds up a few hundred Deployments for a minute."""
    return _component(
        cluster,
        "kube-controller-manager",
        f"{programs}/kube-controller-manager",
        f"--kubeconfig={cluster.kubeconfig('controller-manager')}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={cluster.pki}/sa.key",
        f"--root-ca-file={cluster.pki}/ca.crt",
        f"--cluster-signing-cert-file={cluster.pki}/ca.crt",
        f"--cluster-signing-key-file={cluster.pki}/ca.key",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    )


def scheduler(cluster: Cluster, programs: Path) -> Component:
    return _component(
        cluster,
        "kube-scheduler",
        f"{programs}/kube-scheduler",
        f"--kubeconfig={cluster.kubeconfig('scheduler')}",
        "--leader-elect=false",
    )


def kubelet(cluster: Cluster, programs: Path) -> Component:
    return _component(
        cluster,
        "kubelet",
        f"{programs}/kubelet",
        f"--config={cluster.state}/kubelet.json",
        f"--kubeconfig={cluster.kubeconfig('kubelet')}",
        f"--root-dir={cluster.state}/kubelet",
        f"--node-ip={cluster.node_address}",
        f"--hostname-override={cluster.node}",
    )


def proxy(cluster: Cluster, programs: Path) -> Component:
    """Connection tracking limits are read-only in a network namespace: 0 leaves them alone."""
    return _component(
        cluster,
        "kube-proxy",
        f"{programs}/kube-proxy",
        f"--kubeconfig={cluster.kubeconfig('proxy')}",
        f"--hostname-override={cluster.node}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={cluster.pods}",
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--oom-score-adj=0",
    )


def coredns(cluster: Cluster, programs: Path) -> Component:
    """A process of the node rather than a pod: no image, and ready before the first pod."""
    return _component(
        cluster, "coredns", f"{programs}/coredns", "-conf", f"{cluster.state}/Corefile"
    )


def volumes(cluster: Cluster, programs: Path) -> Component:
    return _component(
        cluster,
        "volumes",
        f"{programs}/kubenode",
        "volumes",
        f"--kubeconfig={cluster.kubeconfig('volumes')}",
        f"--root={cluster.volumes}",
    )


def policies(cluster: Cluster, programs: Path) -> Component:
    """It finds iptables and ipset on the path."""
    return _component(
        cluster,
        "policies",
        "env",
        f"PATH={PATH}",
        f"{programs}/kubenode",
        "policies",
        f"--kubeconfig={cluster.kubeconfig('policies')}",
        f"--node={cluster.node}",
        f"--services={cluster.services}",
    )


#: In the order in which they are started.
PARTS: Mapping[str, Callable[[Cluster, Path], Component]] = {
    "etcd": etcd,
    "containerd": containerd,
    "kube-apiserver": apiserver,
    "kube-controller-manager": controller_manager,
    "kube-scheduler": scheduler,
    "kubelet": kubelet,
    "kube-proxy": proxy,
    "coredns": coredns,
    "volumes": volumes,
    "policies": policies,
}
NAMES = tuple(PARTS)


def _component(cluster: Cluster, name: str, *argv: str) -> Component:
    added = tuple(flag for part, flag in cluster.flags if part == name)
    return Component(name=name, argv=argv + added)
