"""One process's serving life: ports first, then the model, then until a signal says to go, then the drain.

On SIGTERM readiness falls at once, but the port stays open for a while: Kubernetes tells the balancers at
the same time as us, and what they still send is served. Then the port closes, and the last answers go out.
"""

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.placed import PlacedAdapter
from kubeembed_runtime import __version__, allocator
from kubeembed_runtime.api.admin import admin_app
from kubeembed_runtime.api.app import public_app
from kubeembed_runtime.api.edge import OPEN, Edge
from kubeembed_runtime.api.metrics import Metrics
from kubeembed_runtime.api.server import Server, bind
from kubeembed_runtime.api.tracing import telemetry
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.golden import check, prover
from kubeembed_runtime.goldenfiles import Golden
from kubeembed_runtime.lifecycle import Lifecycle, Phase
from kubeembed_runtime.loading import Loaded, load

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the two ports listen. Port 0 takes a free one."""

    host: str
    port: int
    admin_port: int


async def serve(
    model: EmbeddingModel,
    *,
    cache: Path,
    address: Address,
    threads: int,
    linger_seconds: float,
    edge: Edge = OPEN,
    placed: Sequence[PlacedAdapter] = (),
    golden: Golden | None = None,
) -> bool:
    """Serves until a signal. False if that came while the model was still loading.

    placed: adapters that somebody fetched for us; they are loaded before it is ready. golden: what its
    vectors, and those of an adapter, have to be before they are served. Raises StartFailed.
    SIGINT, or a second signal, cuts the lingering short.
    """
    stop, hurry = _signals()
    lifecycle, metrics = Lifecycle(model.name, model.namespace), Metrics(__version__)
    metrics.show_ready(lambda: lifecycle.phase is Phase.READY)
    public, admin = _bind(address)
    url = f"http://{_host(public.getsockname())}"
    logger.info("listening on %s, admin on %s", url, _host(admin.getsockname()))
    servers = (
        Server(public_app(lifecycle, metrics, edge, telemetry(model.name)), public),
        Server(admin_app(lifecycle, metrics), admin),
    )
    told = (metrics.count_batch, metrics.count_tokenized)
    prove = prover(golden, asyncio.get_running_loop())
    async with _running(servers):
        loading = _in_thread(lambda: load(model, cache, threads, *told, placed, prove))
        loaded = await _first(asyncio.ensure_future(_held_to(golden, loading)), stop)
        if loaded is None:
            return False
        _open(loaded, lifecycle, metrics)
        logger.info("try: %s", _example(url, model.name))
        await stop.wait()
        lifecycle.drain()
        servers[0].drain()
        await _wait(hurry, linger_seconds)
    loaded.pipeline.close()
    return True


@asynccontextmanager
async def _running(servers: Sequence[Server]) -> AsyncIterator[None]:
    for server in servers:
        server.start()
    try:
        yield
    finally:
        for server in servers:  # the admin port last: health is asked for until the end
            await server.stop()


def _open(loaded: Loaded, lifecycle: Lifecycle, metrics: Metrics) -> None:
    """From now on it is ready."""
    metrics.show_model(loaded.pipeline.info, lambda: loaded.batcher.waiting_tokens)
    gc.freeze()  # what was loaded stays: to look through it takes 0.1 s, in which nothing is answered
    allocator.trim()
    allocator.keep()
    lifecycle.ready(loaded.pipeline)


async def _held_to(golden: Golden | None, loading: "Future[Loaded]") -> Loaded:
    """What was loaded, if its vectors are the golden ones. Raises StartFailed."""
    loaded = await asyncio.wrap_future(loading)
    if golden is None:
        return loaded
    try:
        await check(loaded.pipeline, golden)
    except StartFailed:
        loaded.pipeline.close()  # its threads would outlive us
        raise
    return loaded


def _bind(address: Address) -> tuple[socket.socket, socket.socket]:
    """Both ports, or none. Raises StartFailed."""
    public = bind(address.host, address.port, "--port")
    try:
        return public, bind(address.host, address.admin_port, "--admin-port")
    except StartFailed:
        public.close()
        raise


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """(stop, hurry): the first signal sets the first; SIGINT or any second one sets both."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def heard(number: signal.Signals) -> None:
        if stop.is_set() or number == signal.SIGINT:
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)
    return stop, hurry


def _in_thread(work: Callable[[], Loaded]) -> "Future[Loaded]":
    """In a daemon thread: a signal during a long load ends the process, it does not wait for the load."""
    future: Future[Loaded] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    return future


async def _first(loading: "asyncio.Future[Loaded]", stop: asyncio.Event) -> Loaded | None:
    """What was loaded, or None if `stop` came before."""
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((loading, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    return loading.result() if loading.done() else None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _host(name: tuple[object, ...]) -> str:
    host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
    return f"{host}:{name[1]}"


def _example(url: str, name: str) -> str:
    body = f'{{"model": "{name}", "input": "hello"}}'
    return f"curl {url}/v1/embeddings -H 'Content-Type: application/json' -d '{body}'"
