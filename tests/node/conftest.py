"""A real cluster with the chart installed, and a hub with faults on demand, for all tests of this folder.

Nothing between KubeEmbed and Kubernetes is mocked: images come from the Dockerfile, the chart is installed by
Helm, documents are applied by kubectl, and the hub serves the real all-MiniLM-L6-v2.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapterkit import minilm, noisy, write_adapter
from nodekit import (
    MINILM,
    RESTRICTED,
    ROOT,
    SYSTEM,
    Hub,
    Kube,
    Manifest,
    audited,
    embedding_model,
    run,
)
from storekit import make_certificates

#: For the models of one namespace, which has to be called so: kubelet takes a minute to bring a change.
GATEWAY_KEYS: Manifest = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "gateway-keys"},
    "stringData": {"locked": "# of the test\nopens\n"},
}

#: Of the word embeddings, as a part of their own spread.
NOISE = {"near": 0.03, "far": 3.0}


@pytest.fixture(scope="session")
def images(info: dict[str, Any]) -> dict[str, str]:
    """Target -> image name, loaded into the cluster."""
    built = json.loads(run(sys.executable, "dev/images", "build", "--json"))
    archives = [image["archive"] for image in built.values()]
    run(sys.executable, "dev/cluster", "load", info["name"], *archives)
    return {target: image["name"] for target, image in built.items()}


@pytest.fixture(scope="session")
def weights() -> Path:
    """The folder of the real all-MiniLM-L6-v2."""
    return minilm()


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random adapters of MiniLM, which the hub serves as acme/NAME, and by revision as acme/NAME@REVISION."""
    root = tmp_path_factory.mktemp("adapters")
    names = [*(f"lora-{number}" for number in range(22)), "lora-0@v2"]
    found = {name: write_adapter(root / name, seed) for seed, name in enumerate(names)}
    found["dora"] = write_adapter(root / "dora", 100, use_dora=True)
    found["wide"] = write_adapter(root / "wide", 101, hidden=768)
    found["lora-0@wide"] = found["wide"]
    return found


@pytest.fixture(scope="session")
def revisions(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Others of MiniLM, which the hub serves as acme/other@NAME: with vectors near to its own, and far."""
    root = tmp_path_factory.mktemp("revisions")
    return {name: noisy(weights, root / name, noise) for name, noise in NOISE.items()}


@pytest.fixture(scope="session")
def hub(
    info: dict[str, Any], weights: Path, adapters: dict[str, Path], revisions: dict[str, Path]
) -> Iterator[Hub]:
    host = info["hostAddress"]
    command = [sys.executable, "tests/hub", "--host", host, "--port", "0"]
    command += ["--repo", f"{MINILM}={weights}", "--repo", f"acme/other={weights}"]
    for name, folder in revisions.items():
        command += ["--repo", f"acme/other@{name}={folder}"]
    command += ["--repo", f"acme/third={weights}"]
    for name, folder in adapters.items():
        command += ["--repo", f"acme/{name}={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    yield Hub(process.stdout.readline().strip())
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="session")
def certificates(info: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA of our own, and a certificate of it for this machine as the node sees it."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), info["hostAddress"])


def node_folder(info: dict[str, Any]) -> Path:
    """Of the node, for the Node cache. The administrator makes it; its rights are kubelet's to set."""
    folder = Path(info["volumes"]).parent / "node-weights"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def installed(info: dict[str, Any], images: dict[str, str], hub: Hub, certificates: Path) -> Kube:
    """The chart, installed by Helm into a namespace that enforces the restricted level."""
    kube = Kube(info, SYSTEM)
    kube.ctl("create", "namespace", SYSTEM, check=False)
    kube.ctl("label", "namespace", SYSTEM, RESTRICTED, "--overwrite")
    values = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text())
    values["images"] = {**images, "pullPolicy": "Never"}
    values["weights"]["hubEndpoint"] = hub.url
    values["weights"]["node"] = {"path": str(node_folder(info))}
    # tests ask the admin ports from this machine, as a Prometheus outside the cluster would
    values["metrics"] = {"allowFrom": [{"ipBlock": {"cidr": f"{info['hostAddress']}/32"}}]}
    values["weights"]["caCertificates"] = (certificates / "ca.pem").read_text()
    values["gateway"] = {"apiKeysSecret": "gateway-keys"}
    kube.apply(GATEWAY_KEYS)
    helm = (info["helm"], "--kubeconfig", info["kubeconfig"])
    # other tests may have applied the CRD before, which Helm would not touch without being told
    command = (*helm, "upgrade", "--install", "--take-ownership", "kubeembed", "charts/kubeembed")
    run(
        *command, "-n", SYSTEM, "--wait", "--timeout", "6m", "-f", "-", stdin=yaml.safe_dump(values)
    )
    return kube


@contextmanager
def own_namespace(info: dict[str, Any]) -> Iterator[Kube]:
    """One that enforces the restricted level; all of it goes afterwards."""
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    kube = Kube(info, namespace)
    kube.ctl("create", "namespace", namespace)
    kube.ctl("label", "namespace", namespace, RESTRICTED)
    yield kube
    # a namespace takes a minute to end, and its models would still be listed at the common address
    kube.ctl("delete", "em", "--all", "--wait=false", check=False)
    kube.ctl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def kube(info: dict[str, Any], installed: Kube, hub: Hub) -> Iterator[Kube]:
    """A namespace of its own, and a hub without faults."""
    hub.reset()
    with own_namespace(info) as kube:
        yield kube


@pytest.fixture(scope="module")
def shared_kube(info: dict[str, Any], installed: Kube) -> Iterator[Kube]:
    """A namespace for all tests of a module."""
    with own_namespace(info) as kube:
        yield kube


@pytest.fixture(scope="session")
def model() -> Callable[..., Manifest]:
    """A document: model("name", scaling={...}, source="hf://...")."""

    def build(name: str = "minilm", source: str = f"hf://{MINILM}", **spec: Any) -> Manifest:
        return embedding_model(name, model={"source": source, **spec.pop("model", {})}, **spec)

    return build


@pytest.fixture(scope="session")
def requests_of(info: dict[str, Any]) -> Callable[[str], list[dict[str, Any]]]:
    """The requests so far of "operator" or "gateway", from the API server's audit log."""

    def requests(component: str) -> list[dict[str, Any]]:
        user = f"system:serviceaccount:{SYSTEM}:kubeembed-{component}"
        return [row for row in audited(info) if row["user"].get("username") == user]

    return requests


@pytest.fixture(scope="session")
def audit(
    requests_of: Callable[[str], list[dict[str, Any]]],
) -> Callable[[], list[dict[str, Any]]]:
    """The operator's requests so far."""
    return lambda: requests_of("operator")


@pytest.fixture(scope="session")
def writes(audit: Callable[[], list[dict[str, Any]]]) -> Callable[[str], list[str]]:
    """The operator's writes in a namespace: "patch deployments/minilm". Events are not counted."""

    def found(namespace: str) -> list[str]:
        return [
            f"{row['verb']} {row['objectRef']['resource']}/{row['objectRef'].get('name')}"
            for row in audit()
            if row["verb"] not in ("get", "list", "watch")
            and row["objectRef"].get("namespace") == namespace
            and row["objectRef"]["resource"] != "events"
        ]

    return found


@pytest.fixture
def small_volume(kube: Kube, info: dict[str, Any]) -> Callable[[str], None]:
    """A claim `small` of too few MiB, on a tmpfs; call it with a size to make room, as in "200M"."""
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "small",
        "resources": {"requests": {"storage": "40Mi"}},
    }
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "small"}}
    kube.apply({**claim, "spec": spec})

    def resize(size: str) -> None:
        folder = Path(info["volumes"]) / kube.get("pvc", "small")["spec"]["volumeName"]
        mount = ("mount", "-o", f"remount,size={size}", str(folder))
        run(sys.executable, "dev/cluster", "exec", info["name"], *mount)

    return resize
