"""How long the operator takes for many models at once, beside plain `kubectl apply` of the same children.

    .venv/bin/python benchmarks/reconcile.py --cluster NAME --models 300

Starts a cluster of dev/cluster where NAME is not up, and an operator process that watches one namespace. The
models are stopped (0 replicas) and fetched from a claim that does not exist, so that no pod takes the cores.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "kit"))

from nodekit import Kube, Manifest, run, until  # noqa: E402
from operatorkit import Operators, Process, model, writes  # noqa: E402

SETTINGS = {
    "images": {"runtime": "runtime.invalid/none:1", "control": "control.invalid/none:1"},
    "profiles": {"cpu": {}},
}
#: What the API server adds to a Job or a Service, and refuses or ignores in an apply of a copy.
ADDED = {
    "Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"),
    "Job": ("selector",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cluster", default="kubeembed-bench")
    parser.add_argument("--models", type=int, default=300)
    given = parser.parse_args()
    run(sys.executable, "dev/cluster", "up", given.cluster, "--audit")
    info = json.loads(run(sys.executable, "dev/cluster", "status", given.cluster, "--json"))
    with tempfile.TemporaryDirectory() as folder:
        measure(info, Path(folder), given.models)


def measure(info: dict[str, Any], folder: Path, models: int) -> None:
    kube, plain = (fresh(info, f"{name}-{os.getpid()}") for name in ("operator", "plain"))
    kube.ctl("apply", "-f", "crds/embeddingmodels.yaml")
    operators = Operators(kube, folder, SETTINGS)
    process = operators.start()
    spec = {"model": {"source": "pvc://none/x"}, "scaling": {"mode": "External", "replicas": 0}}
    try:
        start = time.monotonic()
        kube.apply(*(model(f"m{number}", **spec) for number in range(models)))
        applied = time.monotonic() - start
        until("all reconciled", lambda: reconciled(kube) == models, 600)
        seconds = time.monotonic() - start
        until("settled", lambda: process.metric("kubeembed_queue_in_hand") == 0, 60)
        written = writes(kube)
        told(process, models, applied, seconds, len(written))
    finally:
        operators.end()
    copies = [copy(child) for child in children(kube)]
    start = time.monotonic()
    plain.ctl("apply", "-f", "-", stdin=json.dumps(listed(copies)))
    baseline = time.monotonic() - start
    print(f"plain kubectl apply of the same {len(copies)} children   {baseline:6.1f} s")
    print(f"operator / plain                             {seconds / baseline:6.2f}")


def told(process: Process, models: int, applied: float, seconds: float, written: int) -> None:
    status = Path(f"/proc/{process.popen.pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(f"kubectl apply of {models} models                 {applied:6.1f} s")
    print(f"all reconciled, from the start of that       {seconds:6.1f} s")
    print(f"writes of the operator per model             {written / models:6.2f}")
    print(f"CPU seconds of the operator                  {cpu_seconds(process.popen.pid):6.1f} s")
    print(f"peak memory of the operator                  {peak / 1024:6.0f} MiB")


def cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / 100  # user and system, in hundredths


def fresh(info: dict[str, Any], namespace: str) -> Kube:
    kube = Kube(info, namespace)
    kube.ctl("delete", "namespace", namespace, "--ignore-not-found")
    kube.ctl("create", "namespace", namespace)
    return kube


def reconciled(kube: Kube) -> int:
    command = ("get", "em", "-o", "jsonpath={.items[*].status.observedGeneration}")
    return len(kube.ctl(*command).split())


def children(kube: Kube) -> list[Manifest]:
    found = kube.get("sa,cm,svc,job,deploy", "-l", "kubeembed.dev/model")
    return list(found["items"])


def copy(child: Manifest) -> Manifest:
    """A child as a person would write it: without owner, status and what the API server added."""
    metadata = {name: child["metadata"][name] for name in ("name", "labels", "annotations")}
    made = {name: value for name, value in child.items() if name not in ("metadata", "status")}
    if "spec" in made:
        added = ADDED.get(child["kind"], ())
        made["spec"] = {n: v for n, v in made["spec"].items() if n not in added}
    if child["kind"] == "Job":
        template = {**made["spec"]["template"], "metadata": {"labels": metadata["labels"]}}
        made["spec"] = {**made["spec"], "template": template}
    return {**made, "metadata": metadata}


def listed(items: list[Manifest]) -> Manifest:
    return {"apiVersion": "v1", "kind": "List", "items": items}


if __name__ == "__main__":
    main()
