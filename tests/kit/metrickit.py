"""A figure for a HorizontalPodAutoscaler: external.metrics.k8s.io, as an adapter of metrics serves it."""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nodekit import Kube, until
from storekit import make_certificates

VERSION = "external.metrics.k8s.io/v1beta1"
APISERVICE = "v1beta1.external.metrics.k8s.io"
NAME = "waiting"


class Metric:
    """`value` is what the cluster is told of the metric NAME, whatever the namespace."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        """Returns once the API server forwards to it."""
        self.value = 0
        self._kube = kube
        address = kube.info["hostAddress"]
        make_certificates(folder, address)
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        kube.apply(self._service(address), self._registration())
        until("the API of metrics", self._available, 90)

    def close(self) -> None:
        self._kube.ctl("delete", "apiservice", APISERVICE)
        self._server.shutdown()
        self._server.server_close()

    def told(self, path: str) -> dict[str, Any] | None:
        if path == f"/apis/{VERSION}":
            return {"kind": "APIResourceList", "groupVersion": VERSION, "resources": []}
        if not path.partition("?")[0].endswith(f"/{NAME}"):
            return None
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        item = {"metricName": NAME, "timestamp": now, "value": str(self.value)}
        kind = {"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}}
        return {**kind, "items": [item]}

    def _service(self, address: str) -> dict[str, Any]:
        spec = {"type": "ExternalName", "externalName": address}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": spec}

    def _registration(self) -> dict[str, Any]:
        port = self._server.server_address[1]
        spec = {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": NAME, "namespace": self._kube.namespace, "port": port},
        }
        metadata = {"name": APISERVICE}
        kind = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
        return {**kind, "metadata": metadata, "spec": spec}

    def _available(self) -> bool:
        found = self._kube.get("apiservice", APISERVICE) or {}
        conditions = found.get("status", {}).get("conditions", ())
        return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)


def _handler(metric: Metric) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = metric.told(self.path)
            body = json.dumps(told).encode()
            self.send_response(200 if told else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: Any) -> None:
            return

    return Handler
