"""Certificates of one cluster: two authorities, and a key pair for each component, all P-256.

The second authority signs only the API server's own client certificate for aggregated APIs, so that no
ordinary client certificate can pass for it. Authorities carry the CA bit: without it the controller-manager's
publisher of trust bundles fails.
"""

from dataclasses import dataclass
from pathlib import Path

from devcluster.cluster import Cluster
from devcluster.process import run

DAYS = "3650"
AUTHORITY = (
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
)
LEAF = (
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature,keyEncipherment",
    "extendedKeyUsage=clientAuth,serverAuth",
)
KEY_IDENTIFIERS = ("subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One certificate: file name, subject, names it serves under, and the authority that signs it."""

    file: str
    subject: str
    serves: tuple[str, ...] = ()
    authority: str = "ca"


def users(cluster: Cluster) -> tuple[Identity, ...]:
    """Those who talk to the API server; each gets a kubeconfig of its file name."""
    return (
        Identity(file="admin", subject="/O=system:masters/CN=admin"),
        Identity(file="controller-manager", subject="/CN=system:kube-controller-manager"),
        Identity(file="scheduler", subject="/CN=system:kube-scheduler"),
        Identity(
            file="kubelet",
            subject=f"/O=system:nodes/CN=system:node:{cluster.node}",
            serves=(f"IP:{cluster.node_address}", f"DNS:{cluster.node}"),
        ),
        Identity(file="proxy", subject="/CN=system:kube-proxy"),
        Identity(file="coredns", subject="/CN=system:coredns"),
        Identity(file="volumes", subject="/CN=system:volumes"),
        Identity(file="policies", subject="/CN=system:policies"),
    )


def servers(cluster: Cluster) -> tuple[Identity, ...]:
    """The API server under each of its names, and as a client of kubelets and of aggregated APIs."""
    return (
        Identity(
            file="apiserver",
            subject="/CN=kube-apiserver",
            serves=(
                f"IP:{cluster.node_address}",
                f"IP:{cluster.api_service_address}",
                "IP:127.0.0.1",
                "DNS:localhost",
                "DNS:kubernetes",
                "DNS:kubernetes.default",
                "DNS:kubernetes.default.svc",
                "DNS:kubernetes.default.svc.cluster.local",
            ),
        ),
        Identity(
            file="apiserver-kubelet-client", subject="/O=system:masters/CN=apiserver-kubelet-client"
        ),
        Identity(
            file="front-proxy-client", subject="/CN=front-proxy-client", authority="front-proxy-ca"
        ),
    )


def create(cluster: Cluster) -> None:
    """Write all keys and certificates, unless the cluster has them from before."""
    folder = cluster.pki
    if (folder / "complete").exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "openssl.cnf").write_text("[req]\ndistinguished_name=dn\n[dn]\n", encoding="utf-8")
    for authority in ("ca", "front-proxy-ca"):
        _sign(folder, authority, f"/CN={cluster.name}-{authority}", AUTHORITY)
    for identity in users(cluster) + servers(cluster):
        names = (f"subjectAltName={','.join(identity.serves)}",) if identity.serves else ()
        _sign(folder, identity.file, identity.subject, LEAF + names, identity.authority)
    run(
        [
            "openssl",
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            folder / "sa.key",
        ]
    )
    run(["openssl", "ec", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub"])
    (folder / "complete").touch()


def _sign(
    folder: Path, name: str, subject: str, extensions: tuple[str, ...], authority: str | None = None
) -> None:
    argv: list[str | Path] = ["openssl", "req", "-x509", "-config", folder / "openssl.cnf"]
    argv += [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        DAYS,
        "-subj",
        subject,
    ]
    argv += ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"]
    if authority:
        argv += ["-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key"]
    for extension in extensions + KEY_IDENTIFIERS:
        argv += ["-addext", extension]
    run(argv)
