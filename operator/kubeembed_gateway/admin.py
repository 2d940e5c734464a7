"""GET /livez /readyz /metrics on a port of its own, for kubelet and Prometheus alone.

/livez answers as long as the loop runs: while the API server is away there is nothing that a restart would
mend, and much that it would forget.
"""

from collections.abc import Callable

from aiohttp import web

from kubeembed_gateway.metrics import Metrics


async def serve(
    metrics: Metrics, unready: Callable[[], str | None], *, host: str, port: int
) -> web.AppRunner:
    """The running server; `cleanup()` ends it. unready: what it lacks, as a sentence; None: nothing."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        lacks = unready()
        return web.Response(text=lacks or "ok", status=503 if lacks else 200)

    async def figures(_: web.Request) -> web.Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=metrics.text(), headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", figures)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
