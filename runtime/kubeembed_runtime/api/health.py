"""GET /health: may traffic come here? Load balancers read the status, TEI's clients and SIE's the body, too.

/ping is SageMaker's name for it, and / that of Hugging Face's endpoints, as a TEI server has them. kubelet
asks the admin port instead, which tells a slow load from a dead process.
"""

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.api.contract import Operation, Service, json_reply, route
from kubeembed_runtime.api.openai_errors import refuse
from kubeembed_runtime.lifecycle import Lifecycle, Phase

CONTRACT = "health"


class Worker(msgspec.Struct, kw_only=True):
    """This process, as SIE's gateway shows one of its own."""

    name: str
    url: str = ""
    gpu: str
    gpu_count: int
    ready_gpu_slots: int
    healthy: bool = True
    loaded_models: list[str]
    bundle: str = "default"


class Cluster(msgspec.Struct, kw_only=True):
    """Sums over the workers."""

    worker_count: int
    gpu_count: int
    models_loaded: int


class Healthy(msgspec.Struct, kw_only=True, rename={"kind": "type"}):
    """Ready. SIE's SDK takes a reply without this type for no gateway."""

    status: str = "healthy"
    kind: str = "gateway"
    configured_gpu_types: list[str]
    live_gpu_types: list[str]
    cluster: Cluster
    workers: list[Worker]


class Unhealthy(msgspec.Struct, kw_only=True, rename={"kind": "type"}):
    """Loading, draining or dead, in TEI's words."""

    error: str = "unhealthy"
    error_type: str = "Unhealthy"
    status: str
    kind: str = "gateway"


def routes(service: Service) -> list[Route]:
    """The paths. Open without an API key."""

    async def health(request: Request) -> Response:
        lifecycle = service.lifecycle
        if not lifecycle.alive:
            return json_reply(Unhealthy(status="failed"), 503)
        if lifecycle.phase is not Phase.READY:
            return json_reply(Unhealthy(status=lifecycle.phase.lower()), 503)
        return json_reply(_healthy(lifecycle))

    operation = Operation(
        summary="Whether requests can come here", reply=Healthy, others={503: Unhealthy}
    )
    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service, guarded=False)
    return [
        serve(path, "GET", answer=health, operation=operation) for path in ("/health", "/ping", "/")
    ]


def _healthy(lifecycle: Lifecycle) -> Healthy:
    device = lifecycle.model.info.device
    gpus = [] if device == "cpu" else [device]
    worker = Worker(
        name=lifecycle.name,
        gpu=device,
        gpu_count=len(gpus),
        ready_gpu_slots=len(gpus),
        loaded_models=list(lifecycle.names),
    )
    cluster = Cluster(worker_count=1, gpu_count=len(gpus), models_loaded=1)
    return Healthy(
        configured_gpu_types=gpus, live_gpu_types=gpus, cluster=cluster, workers=[worker]
    )
