"""Operator processes against a real API server: start, kill, ask, and count what they wrote."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubeembed_api.document import parse
from kubeembed_operator.manifests.adapters import adapter_request
from kubeembed_operator.manifests.weights import fetch_request
from nodekit import Kube, Manifest, audited, until
from runtimekit import free_ports

#: Of operators on a real API server, where no image has to run.
SETTINGS = {
    "images": {"runtime": "runtime.invalid/none:1", "control": "control.invalid/none:1"},
    "profiles": {"cpu": {"resources": {"requests": {"cpu": "1m"}}}},
    "weights": {"size": "1Gi"},
    "adminFrom": [{"podSelector": {"matchLabels": {"app": "operator"}}}],
}

WRITES = ("create", "update", "patch", "delete")


@dataclass
class Process:
    """One operator process."""

    popen: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels; 0 while the process does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as got:
                lines = got.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(each.split()[-1]) for each in lines if each.startswith(name))

    def live(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=10):
                return True
        except OSError:
            return False

    def leads(self) -> bool:
        return self.metric("kubeembed_leader ") == 1

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> int:
        """The exit code after a polite signal."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(60)


@dataclass
class Operators:
    """Operators that watch one namespace and have their Lease in it."""

    kube: Kube
    folder: Path
    settings: Manifest
    started: list[Process] = field(default_factory=list)

    def start(self, name: str = "one", *, leads: bool = True) -> Process:
        """Returns once it answers, and leads where that is expected."""
        settings = self.folder / "settings.yaml"
        settings.write_text(json.dumps({**self.settings, "namespace": self.kube.namespace}))
        (port,), log = free_ports(1), self.folder / f"{name}-{len(self.started)}.log"
        environment = {
            **os.environ,
            "KUBECONFIG": self.kube.info["kubeconfig"],
            "POD_NAME": name,
            "POD_NAMESPACE": self.kube.namespace,
        }
        command = [sys.executable, "-m", "kubeembed_operator", "--settings", str(settings)]
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                env=environment,
                stdout=out,
                stderr=out,
                cwd=self.folder,
            )
        process = Process(popen, port, log)
        self.started.append(process)
        until(f"{name} answers", process.live, 60)
        if leads:
            until(f"{name} leads", process.leads, 60)
        return process

    def end(self) -> None:
        """Their logs are shown with a test that failed."""
        for process in self.started:
            if process.popen.poll() is None:
                process.kill()
            print(f"--- {process.log.name}\n{process.log.read_text(errors='replace')}")


def writes(kube: Kube) -> list[str]:
    """What operators wrote in the namespace by the API server's audit log: 'verb resource/subresource name'.

    Leases are left out: they are the election's, and so are Events.
    """
    found = []
    for entry in audited(kube.info):
        what = entry.get("objectRef") or {}
        ours = entry.get("userAgent", "").startswith("kubeembed-operator/")
        if not ours or what.get("namespace") != kube.namespace or entry["verb"] not in WRITES:
            continue
        if entry["stage"] == "ResponseComplete" and what["resource"] not in ("leases", "events"):
            resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
            found.append(f"{entry['verb']} {resource} {what.get('name')}")
    return found


def scaled(kube: Kube) -> int:
    """How often operators wrote the number of replicas, by the API server's audit log.

    What it refused is left out: a number that was decided for an older Deployment is decided anew.
    """
    return sum(_scales(row, kube.namespace) for row in audited(kube.info))


def _scales(row: dict[str, Any], namespace: str) -> bool:
    ours = "fieldManager=kubeembed-scaler" in row["requestURI"]
    there = (row.get("objectRef") or {}).get("namespace") == namespace
    if not ours or not there or row["stage"] != "ResponseComplete":
        return False
    return bool(row["responseStatus"]["code"] < 300)


def model(name: str, **spec: Any) -> Manifest:
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name},
        "spec": {"model": {"source": "hf://acme/minilm"}, **spec},
    }


def make_fetched(kube: Kube, *documents: Manifest) -> None:
    """Applies models whose status says that weights and adapters are there, so that no image has to run."""
    kube.apply(*documents)
    for document in documents:
        parsed = parse(document)
        weights = {"request": fetch_request(parsed), "key": "0" * 32, "bytes": 1}
        adapters = [
            {"name": each.name, "request": adapter_request(parsed, each), "key": "1" * 32}
            for each in parsed.spec.adapters
        ]
        status: Manifest = {"weights": {**weights, "progress": "100%"}, "adapters": adapters}
        if not adapters:
            del status["adapters"]  # an operator would never leave an empty list there
        change = json.dumps({"status": status})
        name = document["metadata"]["name"]
        kube.ctl("patch", "em", name, "--type=merge", "--subresource=status", "-p", change)
