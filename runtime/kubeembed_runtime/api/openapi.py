"""GET /openapi.json and GET /docs: what the routes say of themselves, made once, when first asked for.

The schemas are msgspec's own of the types that bodies are read with. No schema is written by hand.
"""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from types import UnionType
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from kubeembed_runtime import __version__
from kubeembed_runtime.api.contract import FINGERPRINT_HEADER, Service, json_reply, route
from kubeembed_runtime.api.docs import page
from kubeembed_runtime.api.edge import MAX_REQUEST_ID, REQUEST_ID_HEADER
from kubeembed_runtime.api.openai_errors import ErrorBody, refuse
from kubeembed_runtime.api.operation import GET_ERRORS, JSON, POST_ERRORS, DescribedRoute, Operation

CONTRACT = "docs"

Json = dict[str, Any]

MEANINGS = {
    200: "OK",
    400: "The body or a header is wrong, and the message says where",
    401: "No API key, or one that is not known",
    404: "The model or the adapter is not served here",
    408: "The body took too long to arrive",
    412: "The vectors have another fingerprint than If-Fingerprint-Match",
    413: "The body or the request is too large",
    415: "The content type is not one that is read here",
    422: "A value is not one that is allowed",
    424: "The model does not give what is asked for",
    429: "Too much is waiting: come back after Retry-After seconds",
    500: "The server failed on this request",
    501: "Not offered here",
    502: "The adapter cannot be loaded",
    503: "Loading, or out of memory: come back later",
    504: "The time of X-Request-Timeout ran out",
}

_HEADERS: Json = {
    "RequestId": {
        "description": "The request's X-Request-Id, or a new one",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_REQUEST_ID},
    },
    "Fingerprint": {
        "description": "Of the model, or the adapter, that made the vectors; once it is loaded",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "In seconds", "schema": {"type": "integer", "minimum": 1}},
}

_PARAMETERS: Json = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Comes back, and stands in the log; printable ASCII",
        "schema": {"type": "string", "maxLength": MAX_REQUEST_ID},
    },
    "Timeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds that the client waits: what has not begun by then is dropped unrun",
        "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1_000_000},
    },
    "Match": {
        "name": "If-Fingerprint-Match",
        "in": "header",
        "description": "Refuses vectors of any other fingerprint: one, several with commas, or *",
        "schema": {"type": "string"},
    },
}


def routes(service: Service, served: Sequence[BaseRoute]) -> list[Route]:
    """The two paths. `served` is read when they are first asked. Open without an API key."""
    made: dict[str, Response] = {}

    def description() -> Json:
        return describe(served, service.lifecycle.name, keys=service.edge.keys is not None)

    async def show(request: Request) -> Response:
        if "json" not in made:
            made["json"] = json_reply(description())
        return _fresh(made["json"])

    async def docs(request: Request) -> Response:
        if "html" not in made:
            made["html"] = HTMLResponse(page(description()))
        response = _fresh(made["html"])
        response.headers["content-security-policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'"
        )
        return response

    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service, guarded=False)
    return [serve("/openapi.json", "GET", answer=show), serve("/docs", "GET", answer=docs)]


def _fresh(made: Response) -> Response:
    """With headers of its own."""
    return Response(made.body, media_type=made.headers["content-type"])


def describe(served: Iterable[BaseRoute], name: str, *, keys: bool) -> Json:
    """OpenAPI 3.1 of the described routes among them."""
    found = [
        (one, one.operation)
        for one in served
        if isinstance(one, DescribedRoute) and one.operation is not None
    ]
    by_type, components = _schemas([kind for _, one in found for kind in _types(one)])
    paths: Json = {}
    for one, operation in found:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _operation(
            path, one, operation, by_type, keys=keys
        )
    about: Json = {"title": f"KubeEmbed: {name}", "version": __version__}
    parts: Json = {"schemas": components, "headers": _HEADERS, "parameters": _PARAMETERS}
    if keys:
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {"openapi": "3.1.0", "info": about, "paths": paths, "components": parts}


def _schemas(kinds: Sequence[Any]) -> tuple[Json, Json]:
    """By str() of the type, and the parts that they refer to. msgspec knows no union of two lists: we do."""
    members = {str(kind): _members(kind) for kind in kinds}
    flat = [member for choices in members.values() for member in choices]
    schemas, components = msgspec.json.schema_components(
        flat,
        schema_hook=lambda _: {"description": "Any value"},
        ref_template="#/components/schemas/{name}",
    )
    # Types of one name in two contracts are told apart by their modules: tei_errors.ErrorBody.
    text = msgspec.json.encode((schemas, components)).replace(b"kubeembed_runtime.api.", b"")
    schemas, components = msgspec.json.decode(text)
    made = iter(schemas)
    found: Json = {}
    for name, choices in members.items():
        first, *others = [next(made) for _ in choices]
        found[name] = {"anyOf": [first, *others]} if others else first
    return found, components


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _types(operation: Operation) -> list[Any]:
    kinds = (operation.body, operation.reply, _error(operation), *operation.others.values())
    return [kind for kind in kinds if kind is not None]


def _error(operation: Operation) -> Any:
    return ErrorBody if operation.error is None else operation.error


def _operation(
    path: str, one: DescribedRoute, operation: Operation, schemas: Json, *, keys: bool
) -> Json:
    named = re.sub(r"\W+", "_", path).strip("_")
    described: Json = {
        "operationId": f"{one.method.lower()}_{named}",
        "summary": operation.summary,
        "tags": [one.contract],
        "parameters": _parameters(path, one.method),
        "responses": _responses(one, operation, schemas, keys=keys),
    }
    if operation.body is not None:
        schema = schemas[str(operation.body)]
        content = {media: {"schema": schema} for media in operation.media}
        described["requestBody"] = {"required": True, "content": content}
    if keys and one.guarded:
        described["security"] = [{"key": []}]
    return described


def _parameters(path: str, method: str) -> list[Json]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    common = ("RequestId", "Timeout", "Match") if method == "POST" else ("RequestId",)
    return [*in_path, *({"$ref": f"#/components/parameters/{name}"} for name in common)]


def _responses(
    one: DescribedRoute, operation: Operation, schemas: Json, *, keys: bool
) -> dict[str, Json]:
    usual = POST_ERRORS if one.method == "POST" else GET_ERRORS
    statuses = usual if operation.errors is None else operation.errors
    bodies: dict[int, Any] = {status: _error(operation) for status in statuses}
    if keys and one.guarded:
        bodies[401] = _error(operation)
    bodies |= operation.others
    found = {200: _response(200, operation.reply, operation.reply_media, schemas)}
    found |= {status: _response(status, body, JSON, schemas) for status, body in bodies.items()}
    return {str(status): found[status] for status in sorted(found)}


def _response(status: int, body: Any, media: Sequence[str], schemas: Json) -> Json:
    names = {REQUEST_ID_HEADER: "RequestId", FINGERPRINT_HEADER: "Fingerprint"}
    if status in (429, 503):
        names["retry-after"] = "RetryAfter"
    headers = {name: {"$ref": f"#/components/headers/{ref}"} for name, ref in names.items()}
    described: Json = {"description": MEANINGS.get(status, str(status)), "headers": headers}
    if body is not None:
        content = {kind: {"schema": schemas[str(body)]} for kind in media}
        described["content"] = content
    return described
