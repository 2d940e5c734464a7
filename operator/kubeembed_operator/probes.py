"""GET /livez /readyz /metrics, and what KEDA asks, on every operator, leading or not.

/livez fails when a watch is dead or a part has ended: a restart is the cure for both. /readyz fails until the
process can lead or wait for its turn.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from kubeembed_operator.kedaserver import PATH, Answer, load_handler
from kubeembed_operator.metrics import Metrics

#: What is wrong, as a sentence; None: nothing.
Check = Callable[[], str | None]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(
    metrics: Metrics,
    live: Check,
    ready: Check,
    load: Answer | None = None,
    *,
    host: str,
    port: int,
) -> web.AppRunner:
    """The running server; `cleanup()` ends it. load: None where no model is scaled by KEDA."""
    app = web.Application()
    app.router.add_get("/livez", _answer(live))
    app.router.add_get("/readyz", _answer(ready))
    app.router.add_get("/metrics", _metrics(metrics))
    if load is not None:
        app.router.add_get(PATH, load_handler(load))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


def _answer(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        wrong = check()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    return answer


def _metrics(metrics: Metrics) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics.text(), headers=headers)

    return answer
