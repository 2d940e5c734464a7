"""A request for a model -> a reply: held until a pod is ready, forwarded, sent again if its pod went away."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from kubeembed_api.apikeys import WAY_OUT
from kubeembed_gateway.activity import Activity
from kubeembed_gateway.balancing import Balancer
from kubeembed_gateway.body import Body
from kubeembed_gateway.errors import Refused, Unavailable
from kubeembed_gateway.forwarding import PodLost, forward
from kubeembed_gateway.holding import Holds, Memory
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.pool import Pool
from kubeembed_gateway.reading import Model, Pod
from kubeembed_gateway.table import Table

#: A request that pods broke off on may be what breaks them: once sent so often, it is sent no more.
MOST_SENT = 3
#: Seconds that pods are tried again that cannot be reached, and the pause between two tries.
UNREACHABLE_SECONDS, PAUSE = 10.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked for. close: the client's connection ends with the reply. unlocked: by a key of the
    gateway's, which is none of the pods' business unless they ask for one as well."""

    model: Model
    adapter: str = ""
    close: bool
    unlocked: bool = False

    @property
    def passes_key(self) -> bool:
        """Whether the pod gets the client's Authorization."""
        return self.model.keyed or not self.unlocked


class Serving:
    """`serve` for every request, whatever port it came by."""

    def __init__(
        self,
        *,
        table: Table,
        holds: Holds,
        balancer: Balancer,
        memory: Memory,
        pool: Pool,
        metrics: Metrics,
        activity: Activity,
    ) -> None:
        self._table = table
        self._holds = holds
        self._balancer = balancer
        self._memory = memory
        self._pool = pool
        self._metrics = metrics
        self._activity = activity

    def body(self, request: web.BaseRequest) -> Body:
        """A context for as long as the request is served."""
        return Body(request, self._memory)

    async def serve(self, request: web.BaseRequest, body: Body, call: Call) -> web.StreamResponse:
        """Raises GatewayError."""
        if call.model.keyed and "Authorization" not in request.headers:
            problem = f"model {call.model.name!r} asks for an API key; {WAY_OUT}"
            raise Refused(401, "invalid_api_key", problem)
        with self._activity.request(call.model.key):
            await body.keep()
            return await self._forwarded(request, body, call)

    async def _forwarded(
        self, request: web.BaseRequest, body: Body, call: Call
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        model = call.model
        lost: list[Pod] = []
        sent, given_up = 0, loop.time() + UNREACHABLE_SECONDS
        until = loop.time() + model.wait_seconds
        while True:
            pods = self._table.pods(model.key)
            if not pods:
                pods = await self._woken(model, body, until)
                given_up = loop.time() + UNREACHABLE_SECONDS
            pod = self._balancer.pick(pods, call.adapter, lost)
            try:
                with self._balancer.busy(pod, body.size):
                    reply = await forward(
                        self._pool, request, body, pod, close=call.close, key=call.passes_key
                    )
                self._balancer.answered(pod)
                return reply
            except PodLost as error:
                self._balancer.lost(pod)
                self._metrics.retries.labels(*model.key).inc()
                sent += error.sent
                if not body.sendable or sent >= MOST_SENT or loop.time() > given_up:
                    raise Unavailable("pod_lost", str(error), 1) from error
                if pod in lost:
                    await asyncio.sleep(PAUSE)
                lost.append(pod)

    async def _woken(self, model: Model, body: Body, until: float) -> tuple[Pod, ...]:
        """Its pods, once there are any. Raises GatewayError."""
        begun = asyncio.get_running_loop().time()
        self._holds.ask(model)
        await body.hold()
        with self._activity.wait(model.key):
            while not (pods := self._table.pods(model.key)):
                await self._holds.wait(model, until)
        waited = asyncio.get_running_loop().time() - begun
        self._metrics.hold_seconds.labels(*model.key).observe(waited)
        return pods
