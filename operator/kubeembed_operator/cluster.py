"""The only room that talks to the API server: apply, delete, peek, list, and the Events of a model.

Whatever goes wrong on the way comes out as one error with a code, so that callers need to know no client
library. Kinds are written down in `kinds`, so no call is spent on discovery.

ClusterError
├── Conflict       409: somebody else was faster, or another object has this name
├── Missing        404: the object, its namespace or its kind is not there
├── Refused        400, 403, 422: the API server will not have it, today or ever
└── Unreachable    no answer, 429, 5xx
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient, Resource

from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.names import FIELD_MANAGER, MANAGED_BY, MANAGED_BY_VALUE, SCALE_MANAGER
from kubeembed_operator.kinds import (
    CHILDREN,
    CORE_EVENT,
    EVENT,
    LISTED,
    MODEL,
    POD,
    VOLUME,
    Key,
    Kind,
    Manifest,
    key_of,
    kind_of,
)
from kubeembed_operator.metrics import Metrics

#: Seconds for any one call. An API server that needs longer is overloaded: later is better.
TIMEOUT = 20.0

#: What the children of all models carry, and so what lists and watches select.
OURS = f"{MANAGED_BY}={MANAGED_BY_VALUE}"

METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ClusterError(KubeEmbedError):
    """A call failed. `code` is the HTTP status, 0 where there was none."""

    def __init__(self, call: str, code: int, reason: str) -> None:
        super().__init__(f"{call}: {code or 'no answer'}: {reason}")
        self.code = code
        self.reason = reason


class Conflict(ClusterError):
    """409."""


class Missing(ClusterError):
    """404."""


class Refused(ClusterError):
    """400, 403, 422: asking again does not help, unless somebody changes something."""


class Unreachable(ClusterError):
    """The API server did not answer, or not now."""


class Cluster:
    """Calls of the operator. One HTTP session with keep-alive connections behind it."""

    def __init__(self, api: ApiClient, metrics: Metrics, namespace: str = "") -> None:
        self._metrics = metrics
        self._namespace = namespace or None
        self._client = DynamicClient(api)  # type: ignore[no-untyped-call]
        kinds = (MODEL, VOLUME, *CHILDREN, *LISTED, EVENT, CORE_EVENT)
        self._resources = {kind: _resource(kind, self._client) for kind in kinds}

    async def apply(self, manifest: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        """Server-side apply of the fields in `manifest`; the object as it is now."""
        kind, (namespace, name) = kind_of(manifest), key_of(manifest)
        return await self._call(
            "apply",
            kind,
            self._client.server_side_apply,
            self._resources[kind],
            body=manifest,
            name=name,
            namespace=namespace or None,
            field_manager=manager,
            force_conflicts="true",
        )

    async def scale(self, manifest: Manifest) -> Manifest:
        """Applies a replica count under the name that owns it."""
        return await self.apply(manifest, manager=SCALE_MANAGER)

    async def apply_status(self, model: Manifest, status: Manifest) -> Manifest:
        """Replaces what we said of a model. Raises Conflict where it is another object by now."""
        metadata = model["metadata"]
        body = {
            "apiVersion": MODEL.api_version,
            "kind": MODEL.name,
            "metadata": {field: metadata[field] for field in ("name", "namespace", "uid")},
            "status": status,
        }
        return await self._call(
            "status",
            MODEL,
            self._client.server_side_apply,
            self._resources[MODEL].subresources["status"],
            body=body,
            name=metadata["name"],
            namespace=metadata["namespace"],
            field_manager=FIELD_MANAGER,
            force_conflicts="true",
        )

    async def delete(self, kind: Kind, manifest: Manifest, *, foreground: bool = False) -> None:
        """Deletes this very object; one that has taken its name is left alone. foreground: it stays until
        what it owns is gone."""
        namespace, name = key_of(manifest)
        preconditions = {"uid": manifest["metadata"]["uid"]}
        policy = "Foreground" if foreground else "Background"
        try:
            await self._call(
                "delete",
                kind,
                self._client.delete,
                self._resources[kind],
                name=name,
                namespace=namespace,
                body={"preconditions": preconditions, "propagationPolicy": policy},
            )
        except (Missing, Conflict):
            return

    async def peek(self, kind: Kind, key: Key) -> Manifest | None:
        """The metadata of an object whoever made it, or None, from the API server's cache."""
        told = {"Accept": METADATA_LIST}
        return await self._named(kind, key, header_params=told, resource_version="0")

    async def find(self, kind: Kind, key: Key) -> Manifest | None:
        """An object, whoever made it, as it is at this moment; or None."""
        return await self._named(kind, key)

    async def ours(self, kind: Kind) -> list[Manifest]:
        """All children of that kind, from the API server's cache. Raises Missing where there is no such
        kind."""
        labels = {"label_selector": OURS, "resource_version": "0"}
        return await self._list(kind, namespace=self._namespace, **labels)

    async def metadata(self, kind: Kind, *, limit: int | None = None) -> list[Manifest]:
        """The metadata of all objects that are watched, from the API server's cache."""
        return await self._list(
            kind,
            namespace=self._namespace,
            header_params={"Accept": METADATA_LIST},
            label_selector=None if kind == MODEL else OURS,
            resource_version="0" if limit is None else None,
            limit=limit,
        )

    async def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Pods by their labels, whoever made them, from the API server's cache."""
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        return await self._list(
            POD, namespace=namespace, label_selector=selector, resource_version="0"
        )

    async def create_event(self, event: Manifest) -> None:
        await self._call("create", EVENT, self._client.create, self._resources[EVENT], body=event)

    async def last_event(self, manifest: Manifest, reason: str) -> str | None:
        """The newest message of that reason about an object, for what no status tells."""
        found = await self._list(
            CORE_EVENT,
            namespace=manifest["metadata"]["namespace"],
            field_selector=f"involvedObject.uid={manifest['metadata']['uid']},reason={reason}",
        )
        events = sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))
        return str(events[-1].get("message") or "") if events else None

    async def _named(self, kind: Kind, key: Key, **params: Any) -> Manifest | None:
        """A list of at most one, because absence is the rule for what is looked for by name, and the client
        spends more on a 404 than on an answer."""
        namespace, name = key
        selector = f"metadata.name={name}"
        found = await self._list(kind, namespace=namespace, field_selector=selector, **params)
        return next(iter(found), None)

    async def _list(self, kind: Kind, **params: Any) -> list[Manifest]:
        found = await self._call("list", kind, self._client.get, self._resources[kind], **params)
        return cast(list[Manifest], found["items"] or [])  # null where there are none

    async def _call(
        self, verb: str, kind: Kind, call: Callable[..., Awaitable[Any]], *args: Any, **params: Any
    ) -> Manifest:
        """Raises ClusterError. Counts the call whatever becomes of it."""
        code = 0
        try:
            # Headers are written into by the client, so each call has its own.
            params["header_params"] = dict(params.get("header_params", {}))
            answer = await asyncio.wait_for(
                call(*args, serializer=_as_it_is, query_params=[], **params), TIMEOUT
            )
            code = 200
            return cast(Manifest, answer)
        except ApiException as error:
            code = error.status or 0
            raise _translated(f"{verb} {kind.name}", code, _reason(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{verb} {kind.name}", 0, reason) from error
        finally:
            self._metrics.api_calls.labels(verb, kind.name, str(code)).inc()


def _resource(kind: Kind, client: DynamicClient) -> Resource:
    status = {"kind": kind.name, "name": f"{kind.plural}/status", "namespaced": kind.namespaced}
    return Resource(  # type: ignore[no-untyped-call]
        prefix="apis" if kind.group else "api",
        group=kind.group,
        api_version=kind.version,
        kind=kind.name,
        namespaced=kind.namespaced,
        name=kind.plural,
        client=client,
        subresources={"status": status},
    )


def _as_it_is(_: Resource, answer: Any) -> Any:
    return answer


def _translated(call: str, code: int, reason: str) -> ClusterError:
    if code == 409:
        return Conflict(call, code, reason)
    if code == 404:
        return Missing(call, code, reason)
    if code in (400, 401, 403, 405, 415, 422):
        return Refused(call, code, reason)
    return Unreachable(call, code, reason)


def _reason(error: ApiException) -> str:
    """The API server's sentence, without headers and tracebacks."""
    body = error.body.decode() if isinstance(error.body, bytes) else error.body
    try:
        return str(json.loads(body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason or body or "")
