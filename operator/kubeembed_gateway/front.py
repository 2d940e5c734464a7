"""The common address: every model behind one port, found by the name that a request gives it.

What asks for no vectors is answered here, and wakes nothing: lists, health, and SIE's pools, of which there
are none. A model's own port has the lists and its health while it sleeps.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from kubeembed_api.names import endpoint
from kubeembed_gateway import asked, listing
from kubeembed_gateway.errors import Refused, Unavailable
from kubeembed_gateway.keys import Keys
from kubeembed_gateway.listening import Answer
from kubeembed_gateway.naming import resolve
from kubeembed_gateway.page import Page
from kubeembed_gateway.reading import Key, Model
from kubeembed_gateway.refusals import reply
from kubeembed_gateway.serving import Call, Serving
from kubeembed_gateway.table import Table

HEALTH_PATHS = frozenset(("/", "/health", "/healthz", "/livez", "/ping", "/readyz"))
LIST_PATHS = frozenset(("/models", "/v1/models"))
ONE_MODEL = "/v1/models/"
POOLS = "/v1/pools"

#: Seconds until a Service may have forgotten the gateway.
AWAKE_RETRY_SECONDS = 1

_NO_POOLS = (
    "there are no pools here: each model has its own replicas, and its document says how many"
)


class Front:
    """`answer` for every request of the common port."""

    def __init__(
        self, table: Table, serving: Serving, keys: Keys, page: Page | None = None
    ) -> None:
        """page: for people; None: there is none."""
        self._keys = keys
        self._table = table
        self._serving = serving
        self._page = page

    async def answer(self, request: web.BaseRequest, whose: list[Key]) -> web.StreamResponse:
        """Raises GatewayError."""
        path = request.raw_path.partition("?")[0]
        if path == POOLS or path.startswith(f"{POOLS}/"):
            raise _pools(request.method)
        if request.method in ("GET", "HEAD"):
            return self._told(request, path)
        if request.method != "POST":
            raise Refused(405, "method_not_allowed", f"{request.method} {path} is not served here")
        with self._serving.body(request) as body:
            name = asked.in_path(path)
            if name is None:
                await body.hold()
                content_type = request.headers.get("Content-Type", "")
                name = asked.in_body(body.whole or b"", content_type)
            model, adapter = resolve(self._table, name)
            key = model.key
            whose.append(key)
            _check_open(model)
            unlocked = self._keys.check(key, request.headers.get("Authorization"))
            call = Call(model=model, adapter=adapter, close=False, unlocked=unlocked)
            return await self._serving.serve(request, body, call)

    def _told(self, request: web.BaseRequest, path: str) -> web.Response:
        drawn = self._page.answer(request, path) if self._page else None
        if drawn is not None:
            return drawn
        known = told(self._table, path, self._table.models.values)
        if known is not None:
            return known
        if path.startswith(ONE_MODEL):
            return _json(listing.model(self._table, unquote(path.removeprefix(ONE_MODEL))))
        problem = (
            f"GET {path} names no model: ask the model's own address, as GET /v1/models tells it"
        )
        raise Refused(404, "unknown_path", problem)


def told(table: Table, path: str, chosen: Callable[[], Any]) -> web.Response | None:
    """Lists and health of the chosen models; None for any other path."""
    if path in HEALTH_PATHS:
        return _json(listing.health(table, chosen()))
    return _json(listing.models(table, chosen())) if path in LIST_PATHS else None


def without_waking(table: Table, serving: Serving, port: int) -> Answer:
    """For the port of one model: what can be told is told while it has no pods; all else wakes it."""

    async def answer(request: web.BaseRequest, whose: list[Key]) -> web.StreamResponse:
        key = table.ports.get(port)
        model: Model | None = table.models.get(key) if key else None
        if model is None:
            raise Refused(404, "model_not_found", "the model of this address has been deleted")
        whose.append(model.key)
        if request.method in ("GET", "HEAD") and not table.pods(model.key):
            path = request.raw_path.partition("?")[0]
            known = told(table, path, lambda: [model])
            if known is not None:
                known.force_close()
                return known
        if model.guarded:
            return _elsewhere(model, request.raw_path)
        with serving.body(request) as body:
            return await serving.serve(request, body, Call(model=model, close=True))

    return answer


def _check_open(model: Model) -> None:
    """Raises Refused for a model whose document says who reaches its pods: here it would be anybody."""
    if model.guarded:
        problem = (
            f"model {model.name!r} has network.allowFrom and is served at its own address alone: "
            f"{endpoint(model.name, model.namespace)}"
        )
        raise Refused(403, "forbidden", problem)


def _elsewhere(model: Model, path: str) -> web.Response:
    """For one that slept before its document said who may ask: the next connection may reach its pods."""
    problem = f"model {model.name!r} is starting; its address then leads to its pods alone"
    response = reply(Unavailable("model_loading", problem, AWAKE_RETRY_SECONDS), path)
    response.force_close()
    return response


def _pools(method: str) -> Refused:
    if method == "POST":
        return Refused(400, "no_pools", f"{_NO_POOLS}; leave the pool out")
    return Refused(404, "pool_not_found", _NO_POOLS)


def _json(body: dict[str, Any]) -> web.Response:
    return web.Response(
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        headers={"Server": "kubeembed"},
    )
