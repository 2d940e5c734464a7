"""The few requests that bringing a cluster up takes, straight over TLS.

Not by kubectl, because starting it for each would double the time.
"""

import http.client
import json
import ssl
from typing import Any

from devcluster.cluster import Cluster
from devcluster.errors import ClusterError
from devcluster.objects import Manifest

PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "EndpointSlice": "endpointslices",
    "Service": "services",
    "StorageClass": "storageclasses",
}


class Api:
    """The API server, as the cluster's administrator."""

    def __init__(self, cluster: Cluster) -> None:
        self._address = cluster.node_address
        self._context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        self._context.load_cert_chain(cluster.pki / "admin.crt", cluster.pki / "admin.key")

    def ready(self) -> bool:
        return self._answers("/readyz")

    def get(self, path: str) -> Manifest | None:
        """The object; None when it does not exist or the server does not answer."""
        try:
            status, body = self._request("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        if status != 200:
            return None
        found: Manifest = json.loads(body)
        return found

    def apply(self, manifest: Manifest) -> bool:
        """Server-side apply. False while its namespace is not there; ClusterError on any other refusal."""
        query = "?fieldManager=devcluster&force=true"
        status, body = self._request(
            "PATCH", path_of(manifest) + query, manifest, "application/apply-patch+yaml"
        )
        if status in (200, 201):
            return True
        if status == 404:
            return False
        raise ClusterError(f"the API server refused {path_of(manifest)}: {status} {body.decode()}")

    def merge(self, path: str, change: Manifest) -> None:
        """JSON merge patch. Raises ClusterError when it is refused."""
        status, body = self._request("PATCH", path, change, "application/merge-patch+json")
        if status != 200:
            raise ClusterError(f"the API server refused {path}: {status} {body.decode()}")

    def _answers(self, path: str) -> bool:
        try:
            return self._request("GET", path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _request(
        self, verb: str, path: str, body: Any = None, content: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            self._address, 6443, timeout=10, context=self._context
        )
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(verb, path, data, {"Content-Type": content})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def path_of(manifest: Manifest) -> str:
    """The object's path on the API server."""
    version, metadata = manifest["apiVersion"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{namespace}/{PLURALS[manifest['kind']]}/{metadata['name']}"


def plain_answer(address: str, port: int, path: str) -> bool:
    """Whether a health page answers 200 over plain HTTP."""
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
