"""The public port: the wire contracts under one roof.

A path that is none of theirs is answered in OpenAI's words.
"""

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from kubeembed_runtime.api import (
    classify,
    cohere,
    health,
    models,
    openai,
    openapi,
    rerank,
    score,
    sie,
    tei,
)
from kubeembed_runtime.api.contract import FINGERPRINT_HEADER, Service
from kubeembed_runtime.api.edge import OPEN, REQUEST_ID_HEADER, Edge, request_id
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.openai_errors import error_reply
from kubeembed_runtime.api.operation import DescribedRoute
from kubeembed_runtime.api.tracing import OFF
from kubeembed_runtime.lifecycle import Lifecycle


class PublicApp(FastAPI):
    """FastAPI, but for paths without parameters: they are found at once, and answered without its layers.

    They are a third of what a short request takes here, and have nothing to do for our routes, which answer
    their own errors and depend on nothing. Only CORS and traces need them.
    """

    _direct: Mapping[tuple[str, str], Route] = {}

    def answer_directly(self) -> None:
        """From here on; of the routes that there are."""
        plain = (one for one in self.router.routes if isinstance(one, DescribedRoute))
        self._direct = {(one.method, one.path): one for one in plain if "{" not in one.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._direct.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await super().__call__(scope, receive, send)
            return
        response = await route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def public_app(
    lifecycle: Lifecycle, metrics: Metrics, edge: Edge = OPEN, telemetry: TelemetryConfig = OFF
) -> FastAPI:
    """What applications talk to. It answers from the first moment, 503 while the model loads."""
    service = Service(lifecycle=lifecycle, metrics=metrics, edge=edge)
    app = PublicApp(
        title=f"KubeEmbed: {lifecycle.name}",
        openapi_url=None,
        telemetry=telemetry,
    )
    for contract in (openai, models, health, sie, tei, cohere, rerank, classify, score):
        app.router.routes.extend(contract.routes(service))
    app.router.routes.extend(openapi.routes(service, app.router.routes))
    app.add_exception_handler(HTTPException, _no_such_path)
    if edge.origins:
        _allow(app, edge.origins)
    elif not telemetry.get("tracing"):
        app.answer_directly()
    return app


def _allow(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Lets pages of these origins ask from a browser, and read what our headers say."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=(FINGERPRINT_HEADER, REQUEST_ID_HEADER, "retry-after"),
    )


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    problem = f"{what} is not served here; GET /docs shows what is"
    response = error_reply(error.status_code, problem, "invalid_request_error")
    response.headers.update(error.headers or {})
    response.headers[REQUEST_ID_HEADER] = request_id(request.headers.get(REQUEST_ID_HEADER))
    return response
