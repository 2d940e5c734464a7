"""What the tests on a real cluster are written with: kubectl on one namespace, the hub's log and faults."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SYSTEM = "kubeembed-system"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"

Manifest = dict[str, Any]


def run(*command: str, stdin: str | None = None, check: bool = True) -> str:
    """Output of a command. Raises AssertionError with what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout if done.returncode == 0 else done.stderr


def embedding_model(name: str, **spec: Any) -> Manifest:
    """A document, to be applied."""
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name},
        "spec": spec,
    }


def until(what: str, found: Callable[[], Any], seconds: float) -> Any:
    """The first true value of `found`; a part of an object that is not there yet counts as none.

    Raises AssertionError with the last value, or what was missing, after `seconds`.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            value = last = found()
        except (LookupError, TypeError) as missing:
            value, last = None, missing
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {seconds} s, last: {last!r}"
        time.sleep(0.2)


def at_rest(written: Callable[[], list[str]], seconds: float, patience: float = 300) -> list[str]:
    """What was written, once nothing has been for so many seconds: watches and controllers lag."""
    last, since = written(), time.monotonic()

    def still() -> bool:
        nonlocal last, since
        if (now := written()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    until(f"no writes for {seconds} s", still, patience)
    return last


def audited(info: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the API server's audit log, but for one that is being written at this moment."""
    whole = Path(info["auditLog"]).read_bytes().rpartition(b"\n")[0]
    return [json.loads(row) for row in whole.splitlines()]


def is_open(host: str, port: int = 80) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError:
        return False
    return True


@dataclass
class Kube:
    """kubectl on one namespace, and the few questions that the tests ask of it."""

    info: dict[str, Any]
    namespace: str
    made: list[str] = field(default_factory=list)

    def ctl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        command = (self.info["kubectl"], "--kubeconfig", self.info["kubeconfig"])
        return run(*command, "-n", self.namespace, *words, stdin=stdin, check=check)

    def get(self, *words: str) -> Any:
        """The object or list as JSON; None where it does not exist."""
        text = self.ctl("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def fetches(self) -> list[Manifest]:
        """The Jobs of models; those that collect unused copies come and go in their own time."""
        jobs = self.list("jobs")
        return [job for job in jobs if "kubeembed.dev/model" in job["metadata"]["labels"]]

    def list(self, kinds: str) -> list[Manifest]:
        """The objects of these kinds; none is an empty list."""
        return list((self.get(kinds) or {}).get("items", ()))

    def apply(self, *manifests: Manifest, check: bool = True) -> str:
        return self.ctl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests), check=check)

    def patch(self, what: str, name: str, change: Manifest) -> None:
        self.ctl("patch", what, name, "--type=merge", "-p", json.dumps(change))

    def until_defined(self, kinds: str) -> None:
        """Until kubectl finds kinds that were just defined, as in scaledobjects.keda.sh."""
        words = ("get", kinds, "-o", "name")
        until(kinds, lambda: not self.ctl(*words, check=False).lower().startswith("error"), 60)

    def address(self, service: str) -> str:
        """URL of a Service, once it is open: the node hears of a pod a moment after the pod is ready."""
        host = self.get("service", service)["spec"]["clusterIP"]
        until(f"Service {service} is open", lambda: is_open(host), 60)
        return f"http://{host}"

    def condition(self, name: str, kind: str = "Ready") -> dict[str, str]:
        """The condition of a model; empty where there is none yet."""
        status = (self.get("em", name) or {}).get("status", {})
        return next((c for c in status.get("conditions", ()) if c["type"] == kind), {})

    def wait_ready(self, name: str, seconds: float = 240) -> Manifest:
        """The model, once it is Ready as its newest document asks."""

        def ready() -> Manifest | None:
            model = self.get("em", name)
            status = model["status"]
            newest = status["observedGeneration"] == model["metadata"]["generation"]
            found = {each["type"]: each["status"] for each in status["conditions"]}
            return dict(model) if newest and found["Ready"] == "True" else None

        try:
            return dict(until(f"{name} Ready", ready, seconds))
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.story(name)}") from late

    def wait_served(self, name: str, seconds: float = 240) -> Manifest:
        """The model, once its pods have told what they serve as well: they may at a later look."""
        self.wait_ready(name, seconds)

        def told() -> Manifest | None:
            model = self.get("em", name)
            return dict(model) if model["status"]["model"]["dimensions"] else None

        return dict(until(f"what {name} serves", told, 60))

    def wait_reason(self, name: str, kind: str, reason: str, seconds: float) -> dict[str, str]:
        def seen() -> dict[str, str] | None:
            found = self.condition(name, kind)
            return found if found.get("reason") == reason else None

        try:
            return dict(until(f"{kind} {reason}", seen, seconds))
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.story(name)}") from late

    def story(self, name: str) -> str:
        """What a person would look at."""
        parts = [self.ctl("describe", "em", name, check=False)]
        parts.append(self.ctl("get", "pods,jobs,pvc", "-o", "wide", check=False))
        parts.append(self.ctl("get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:])
        return "\n".join(parts)


@dataclass(frozen=True)
class Hub:
    """The test hub, asked and told over HTTP."""

    url: str

    def faults(self, *faults: Manifest) -> None:
        """These and no others: {"path": glob, "status": 429, "headers": {}}, {"truncate": bytes}, ..."""
        self._send("DELETE", "/_faults", None)
        for fault in faults:
            self._send("POST", "/_faults", fault)

    def log(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/_log") as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def bytes_sent(self) -> int:
        """Of files; listings are not counted."""
        return sum(row["sent"] for row in self.log() if not row["path"].startswith("/api/"))

    def reset(self) -> None:
        self._send("DELETE", "/_log", None)
        self.faults()

    def _send(self, method: str, path: str, body: Any) -> None:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, method=method)):
            pass
