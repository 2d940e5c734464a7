"""The only room that talks to the API server: lists, watches, and the wake of a model.

Objects are plain JSON: the client brings addresses, certificates and tokens, and builds no models of them.
"""

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

import kubeembed_gateway
from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.names import GATEWAY_MANAGER, GROUP, MANAGED_BY, MANAGED_BY_VALUE, VERSION
from kubeembed_gateway.reading import Key, Manifest
from kubeembed_gateway.table import MODELS, SERVICES, SLICES

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

#: Seconds. The API server ends a watch after about so long, and sends a bookmark each 60 or is dead.
WATCH_SECONDS, SILENT_SECONDS = 300, 75
#: For any other call, and for a connection.
TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)

OURS = f"{MANAGED_BY}={MANAGED_BY_VALUE}"
#: Kubernetes gives the slices that it makes the labels of their Service.
KUBERNETES_SLICES = "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"


class ApiError(KubeEmbedError):
    """A call failed. `code` is the HTTP status, 0 where there was no answer."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code or 'no answer'}: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A kind that is watched: its path, and which of its objects."""

    kind: str
    prefix: str
    selector: str | None = None


WATCHED = (
    Watched(kind=MODELS, prefix=f"/apis/{GROUP}/{VERSION}"),
    Watched(kind=SERVICES, prefix="/api/v1", selector=OURS),
    Watched(
        kind=SLICES, prefix="/apis/discovery.k8s.io/v1", selector=f"{OURS},{KUBERNETES_SLICES}"
    ),
)


async def connect() -> ApiClient:
    """In a pod by the ServiceAccount, else by KUBECONFIG. Raises ConfigException where there is neither."""
    configuration = Configuration()
    if TOKEN.exists():
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
        )
    client = ApiClient(configuration)
    client.user_agent = f"kubeembed-gateway/{kubeembed_gateway.__version__}"
    return client


class Cluster:
    """Calls of the gateway. namespace: the only one that is looked at; empty: all."""

    def __init__(self, api: ApiClient, namespace: str = "") -> None:
        self._api = api
        self._namespace = namespace

    async def listed(self, watched: Watched) -> tuple[list[Manifest], str]:
        """The objects, from the API server's cache, and the version to watch from. Raises ApiError."""
        query = [("resourceVersion", "0")]
        async with self._call("GET", self._path(watched), query, watched.selector) as answer:
            found = json.loads(await answer.read())
        return found.get("items") or [], found["metadata"]["resourceVersion"]

    async def watch(self, watched: Watched, version: str) -> AsyncIterator[tuple[str, Manifest]]:
        """("ADDED", object) and the like from `version` on, until the API server ends it. Raises ApiError."""
        seconds = round(WATCH_SECONDS * random.uniform(0.8, 1.2))
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", str(seconds)),
        ]
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=SILENT_SECONDS)
        call = self._call("GET", self._path(watched), query, watched.selector, timeout=timeout)
        async with call as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(status.get("code") or 0, str(status.get("message")))
                yield event["type"], event["object"]

    async def wake(self, key: Key) -> bool:
        """Scales a Deployment from 0 to 1; False where it was not at 0. Raises ApiError.

        The API server leaves a count of 0 out of what a patch is tested against, so it is tested for absence.
        """
        namespace, name = key
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
        patch = [
            {"op": "test", "path": "/spec/replicas", "value": None},
            {"op": "add", "path": "/spec/replicas", "value": 1},
        ]
        query = [("fieldManager", GATEWAY_MANAGER)]
        try:
            async with self._call("PATCH", path, query, body=patch) as answer:
                await answer.read()
        except ApiError as error:
            if error.code == 422:
                return False
            raise
        return True

    def _path(self, watched: Watched) -> str:
        where = f"/namespaces/{self._namespace}" if self._namespace else ""
        return f"{watched.prefix}{where}/{watched.kind}"

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        selector: str | None = None,
        *,
        body: Any = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises ApiError, also for what breaks off later."""
        kind = "application/json-patch+json" if method == "PATCH" else "application/json"
        chosen = [("labelSelector", selector)] if selector else []
        try:
            request = await self._api.param_serialize(
                method,
                path,
                query_params=[*query, *chosen],
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                auth_settings=["BearerToken"],
            )
            got = await self._api.call_api(*request, _request_timeout=timeout)
            async with got.response as answer:
                if answer.status >= 300:
                    raise ApiError(answer.status, _reason(await answer.read()))
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, str(error) or type(error).__name__) from error


def _reason(body: bytes) -> str:
    """The API server's sentence."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
