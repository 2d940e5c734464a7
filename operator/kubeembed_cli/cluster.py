"""The API server, as kubectl asks it: KUBECONFIG, --context, the context's namespace. Reads, but for `apply`.

Objects are JSON as they come: models of every Kubernetes kind would be built and thrown away.
"""

import http.client
import json
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import urllib3
from kubernetes.client import ApiClient, Configuration, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, kube_config
from kubernetes.stream import portforward
from yaml import YAMLError

from kubeembed_api.names import API_VERSION, PLURAL
from kubeembed_api.podreasons import Manifest
from kubeembed_cli.errors import ChartMissing, CommandFailed, Forbidden, OthersOwn, Unreachable

#: Seconds to connect, and for an answer.
TIMEOUT = (5.0, 30.0)
#: Who owns what `apply` writes.
MANAGER = "kubeembed-cli"
USER_AGENT = "kubeembed"

#: Plural -> where the API server has the kind.
GROUPS: Mapping[str, str] = {
    "configmaps": "/api/v1",
    "deployments": "/apis/apps/v1",
    PLURAL: f"/apis/{API_VERSION}",
    "events": "/api/v1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "persistentvolumeclaims": "/api/v1",
    "pods": "/api/v1",
}


class Cluster:
    """One cluster, and the namespace that is meant where none is named."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self.namespace = namespace
        self.now: datetime | None = None  # by the API server's clock, as of its last answer

    def find(self, plural: str, name: str, namespace: str | None = None) -> Manifest | None:
        """The object of that name, or None."""
        found = self.list(plural, namespace, fieldSelector=f"metadata.name={name}")
        return next(iter(found), None)

    def list(
        self, plural: str, namespace: str | None = None, *, everywhere: bool = False, **query: str
    ) -> list[Manifest]:
        """Objects of one namespace, this one where none is named. Raises CommandFailed."""
        where = "" if everywhere else f"/namespaces/{namespace or self.namespace}"
        answer = self._ask("GET", f"{GROUPS[plural]}{where}/{plural}", query)
        return list(json.loads(answer)["items"] or ())

    def apply(self, manifest: Manifest) -> None:
        """Server-side apply. A field that another owns is theirs: raises OthersOwn."""
        metadata, plural = manifest["metadata"], f"{manifest['kind'].lower()}s"
        path = f"{GROUPS[plural]}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
        self._ask("PATCH", path, {"fieldManager": MANAGER}, body=json.dumps(manifest))

    def log(
        self, namespace: str, pod: str, container: str, *, lines: int, previous: bool
    ) -> tuple[str, ...]:
        """The last lines. Raises CommandFailed where there is no log (yet, or any more)."""
        query = {"container": container, "tailLines": str(lines)}
        query |= {"previous": "true"} if previous else {}
        text = self._ask("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        return tuple(line.rstrip() for line in text.decode(errors="replace").splitlines())

    def tunnel(self, namespace: str, pod: str, port: int) -> "Tunnel":
        """HTTP to a pod's port, through the API server."""
        return Tunnel(self._api, namespace, pod, port)

    def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: str | None = None
    ) -> bytes:
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"
        try:
            request = self._api.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers,
                body=body, auth_settings=["BearerToken"],
            )  # fmt: skip
            response = self._api.call_api(*request, _request_timeout=TIMEOUT)
            data = cast(bytes, response.read())  # type: ignore[no-untyped-call]
        except (ApiException, urllib3.exceptions.HTTPError, OSError, ConfigException) as error:
            raise Unreachable(f"{self.server} cannot be asked: {_root(error)}") from error
        if told := response.headers.get("Date"):
            self.now = parsedate_to_datetime(told)
        if response.status >= 300:
            raise refusal(response.status, data, path)
        return data

    @property
    def server(self) -> str:
        """Its URL."""
        return str(self._api.configuration.host)


class Tunnel(http.client.HTTPConnection):
    """A connection to a pod over the API server's port-forward: no port is opened on this machine."""

    def __init__(self, api: ApiClient, namespace: str, pod: str, port: int) -> None:
        super().__init__("localhost", port)
        self._call = CoreV1Api(api).connect_get_namespaced_pod_portforward
        self._pod, self._namespace = pod, namespace

    def connect(self) -> None:
        """Raises CommandFailed."""
        try:
            forward = portforward(self._call, self._pod, self._namespace, ports=str(self.port))
            self.sock = forward.socket(self.port)
        except ApiException as error:
            raise CommandFailed(f"no port-forward to pod {self._pod}: {error.reason}") from error


def connect(context: str | None, namespace: str | None) -> Cluster:
    """Raises Unreachable where no kubeconfig says how."""
    configuration, loader = Configuration(), _kubeconfig(context)
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise Unreachable(f"the kubeconfig's credentials are of no use: {error}") from error
    configuration.retries = False
    api = ApiClient(configuration)
    api.user_agent = USER_AGENT
    usual = loader.current_context["context"].get("namespace") or "default"
    return Cluster(api, namespace or usual)


def _kubeconfig(context: str | None) -> Any:
    """The client's loader, of which nothing is annotated."""
    where, library = kube_config.KUBE_CONFIG_DEFAULT_LOCATION, cast(Any, kube_config)
    try:
        merged = library.KubeConfigMerger(where).config
        if merged is None:
            raise Unreachable(f"no cluster to ask: there is no {where}; set KUBECONFIG")
        return library.KubeConfigLoader(merged, context, config_base_path=None)
    except (ConfigException, OSError, YAMLError) as error:
        raise Unreachable(f"no cluster to ask: {error}") from error


def refusal(status: int, data: bytes, path: str) -> CommandFailed:
    """What an answer of the API server means to who typed the command."""
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        message = data.decode(errors="replace").strip()
    if status == 404 and f"/{PLURAL}" in path:
        return ChartMissing()  # a list is never 404 for want of objects
    if status == 401:
        return Unreachable(f"the API server does not know who asks ({message}); log in again")
    if status == 409:
        return OthersOwn(message)
    return Forbidden(message) if status == 403 else CommandFailed(f"{status}: {message}")


def _root(error: BaseException) -> str:
    """The innermost sentence: what the libraries wrap around it helps nobody."""
    reason = getattr(error, "reason", None)
    return _root(reason) if isinstance(reason, BaseException) else str(reason or error)
