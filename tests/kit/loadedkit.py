"""Pods that nobody runs, on a real API server: they are as ready and as loaded as a test says.

They are on a node without a kubelet, so a test can write their status; and they all have one address, where a
server of the test answers for their admin port.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kubeembed_api.names import ADMIN_PORT
from nodekit import Kube, Manifest

#: In a profile: pods go to the node that nobody runs.
NOWHERE = {"nodeSelector": {"kubelet": "none"}}

#: Seconds between two signs of life of that node; without one for 50, its pods are no longer ready.
HEARTBEAT = 10.0


class Node:
    """A node without a kubelet."""

    def __init__(self, kube: Kube, name: str = "nobody") -> None:
        self._kube, self._name = kube, name
        self._ended = threading.Event()
        labels = NOWHERE["nodeSelector"]
        kube.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        )
        self._beat()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes the pods along, for which it would else be waited."""
        self._ended.set()
        self._thread.join()
        self._kube.ctl("delete", "pods", "--all", "--force", "--wait=false")
        self._kube.ctl("delete", "node", self._name)

    def _live(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            self._beat()

    def _beat(self) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {"type": "Ready", "status": "True", "reason": "Told", "lastHeartbeatTime": now}
        room = {"cpu": "8", "memory": "8Gi", "pods": "100"}
        status = {"allocatable": room, "capacity": room, "conditions": [condition]}
        change = json.dumps({"status": status})
        self._kube.ctl(
            *("patch", "node", self._name, "--subresource=status", "--type=strategic", "-p", change)
        )


class Server:
    """Answers GET /load on the machine's end of the cluster's network. busy: share of the time."""

    def __init__(self, host: str) -> None:
        self.busy, self.idle_seconds, self.asked = 0.0, 0.0, 0
        self._begun = self._last = time.monotonic()
        self._busy_seconds = 0.0
        self._lock = threading.Lock()
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(answer()).encode() if self.path == "/load" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer((host, ADMIN_PORT), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self) -> dict[str, float]:
        with self._lock:
            now = time.monotonic()
            self._busy_seconds += self.busy * (now - self._last)
            self._last, self.asked = now, self.asked + 1
            return {
                "busySeconds": self._busy_seconds,
                "queuedTokens": 0,
                "inFlight": 0,
                "tokens": 1000,
                "idleSeconds": self.idle_seconds,
                "upSeconds": now - self._begun,
            }


def make_ready(kube: Kube, selector: str) -> int:
    """Lets the pods that there are be ready; how many these are."""
    found = (kube.get("pods", "-l", selector) or {"items": []})["items"]
    pods = [
        each
        for each in found
        if "nodeName" in each["spec"] and "deletionTimestamp" not in each["metadata"]
    ]
    for pod in pods:
        if "podIP" not in pod["status"]:
            write_status(kube, pod["metadata"]["name"], "True")
    return len(pods)


def write_status(kube: Kube, pod: str, ready: str) -> None:
    address = kube.info["hostAddress"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": now}
    told = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    change = json.dumps({"status": {**told, "conditions": [condition]}})
    kube.ctl("patch", "pod", pod, "--subresource=status", "--type=strategic", "-p", change)


def gateway_pod() -> Manifest:
    """One that nobody runs either."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "gateway", "image": "gateway.invalid/none:1", "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gateway", "labels": {"app.kubernetes.io/component": "gateway"}},
        "spec": {**NOWHERE, "containers": [container]},
    }
