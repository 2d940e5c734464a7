"""The real KEDA on the node: built from its Go module, and installed by the manifests that the module brings.

Without its admission webhooks, and with certificates of the test's: KEDA's own come to its pods a minute
later.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cachekit import alone, cached
from nodekit import ROOT, Kube, Manifest, run, until
from storekit import make_certificates

VERSION = "v2.21.0"
MODULE = f"github.com/kedacore/keda/v2@{VERSION}"
NAMESPACE = "keda"
#: Program of the module -> the command of its pods.
PROGRAMS = {"operator": "keda", "adapter": "keda-adapter"}
#: Of the certificate, which each of the two shows to the other.
SERVED = ("keda-operator", "keda-metrics-apiserver")


def install(kube: Kube, folder: Path) -> None:
    """Returns once the API server asks it for figures. folder: for what is made on the way."""
    domains = [f"{name}.{NAMESPACE}.svc" for name in SERVED]
    names = [*SERVED, *domains, *(f"{domain}.cluster.local" for domain in domains)]
    make_certificates(folder, "127.0.0.1", *names)
    archives = [str(archive) for archive in _images(folder)]
    run(sys.executable, "dev/cluster", "load", kube.info["name"], *archives)
    namespace, *others = _manifests(kube, (folder / "ca.pem").read_bytes())
    told = yaml.safe_dump_all([namespace, _secret(folder), *others])
    # The annotation of a client-side apply has no room for its definitions.
    _kubectl(kube, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=told)
    until("the API of KEDA's figures", lambda: _available(kube), 240)
    ready = ("rollout", "status", "deployment/keda-operator", "--timeout=240s")
    _kubectl(kube, *ready, "--namespace", NAMESPACE)


def uninstall(kube: Kube) -> None:
    """All of it, with its kinds; nothing of theirs may be left that waits for KEDA."""
    told = yaml.safe_dump_all(_manifests(kube, b""))
    _kubectl(kube, "delete", "--ignore-not-found", "--timeout=240s", "-f", "-", stdin=told)


def _kubectl(kube: Kube, *words: str, stdin: str | None = None) -> None:
    """In whatever namespace an object says."""
    run(kube.info["kubectl"], "--kubeconfig", kube.info["kubeconfig"], *words, stdin=stdin)


def _manifests(kube: Kube, ca: bytes) -> Iterator[Manifest]:
    rendered = kube.ctl("kustomize", str(_module() / "config" / "minimal"))
    for manifest in yaml.safe_load_all(rendered):
        if manifest["kind"] == "Deployment":
            _run_ours(manifest)
        if manifest["kind"] == "APIService":
            manifest["spec"]["caBundle"] = base64.b64encode(ca).decode()
        yield manifest


def _run_ours(deployment: Manifest) -> None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    [command] = container["command"]
    container |= {"image": _image(command.strip("/")), "imagePullPolicy": "Never"}
    container["args"] = [each for each in container["args"] if "cert-rotation" not in each]
    for probe in ("livenessProbe", "readinessProbe"):
        container[probe]["initialDelaySeconds"] = 1


def _secret(folder: Path) -> Manifest:
    files = {"ca.crt": "ca.pem", "tls.crt": "server.pem", "tls.key": "server.key"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kedaorg-certs", "namespace": NAMESPACE},
        "stringData": {name: (folder / file).read_text() for name, file in files.items()},
    }


def _available(kube: Kube) -> bool:
    found = kube.get("apiservice", "v1beta1.external.metrics.k8s.io") or {}
    conditions = found.get("status", {}).get("conditions", ())
    return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)


def _image(command: str) -> str:
    return f"localhost/{command}:{VERSION}"


def _images(folder: Path) -> Iterator[Path]:
    """Archives of one program each."""
    sys.path.insert(0, str(ROOT / "dev" / "cluster"))
    from devcluster import pause

    for program, command in PROGRAMS.items():
        content = (_built() / program).read_bytes()
        archive = folder / f"{command}.tar"
        archive.write_bytes(pause.archive(content, image=_image(command), file=command))
        yield archive


def _module() -> Path:
    """Its folder in Go's module cache."""
    told = json.loads(run(_go(), "mod", "download", "-json", MODULE))
    return Path(told["Dir"])


def _built() -> Path:
    """The folder of programs, compiled the first time."""
    folder = cached(f"keda-{VERSION}")
    with alone(folder):
        if not all((folder / program).exists() for program in PROGRAMS):
            environ = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
            packages = [f"./cmd/{program}" for program in PROGRAMS]
            flags = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
            command = ["nice", "-n", "10", _go(), "build", *flags, "-o", f"{folder}/", *packages]
            subprocess.run(command, cwd=_module(), env=environ, check=True)
    return folder


def _go() -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("needs Go, to build KEDA")
    return go
