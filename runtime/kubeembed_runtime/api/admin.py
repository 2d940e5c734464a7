"""The admin port: health, metrics, and what is served. For kubelet, Prometheus and the operator alone.

It listens before anything heavy is imported, so that a slow load is never taken for a dead process.
"""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kubeembed_runtime.api import adapters
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.tracing import OFF
from kubeembed_runtime.lifecycle import Lifecycle, Phase


def admin_app(lifecycle: Lifecycle, metrics: Metrics) -> FastAPI:
    """GET /livez, /readyz, /metrics, /info, /load; and the adapters."""

    async def livez(request: Request) -> Response:
        return _health(lifecycle.alive, lifecycle.phase)

    async def readyz(request: Request) -> Response:
        return _health(lifecycle.phase is Phase.READY and lifecycle.alive, lifecycle.phase)

    async def show_metrics(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def info(request: Request) -> Response:
        if not lifecycle.loaded:
            return _health(False, lifecycle.phase)
        body = lifecycle.model.info.model_dump_json(by_alias=True)
        return Response(body, media_type="application/json")

    async def load(request: Request) -> Response:
        if not lifecycle.loaded:
            return _health(False, lifecycle.phase)
        body = lifecycle.load.model_dump_json(by_alias=True)
        return Response(body, media_type="application/json")

    app = FastAPI(title="KubeEmbed admin", openapi_url=None, telemetry=OFF)
    paths = {
        "/livez": livez,
        "/readyz": readyz,
        "/metrics": show_metrics,
        "/info": info,
        "/load": load,
    }
    app.router.routes.extend(Route(path, answer) for path, answer in paths.items())
    app.router.routes.extend(adapters.routes(lifecycle))
    return app


def _health(good: bool, phase: Phase) -> Response:
    return PlainTextResponse(f"{phase}\n", 200 if good else 503)
