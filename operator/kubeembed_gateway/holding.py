"""Requests that wait for a pod of their model, in the order in which they came; and the bytes they hold.

A model's own bounds (spec.scaling.hold) count its requests at this gateway pod; the bytes are counted for the
whole pod, bodies that are kept for a second try among them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from kubeembed_gateway.errors import Unavailable
from kubeembed_gateway.metrics import Metrics
from kubeembed_gateway.reading import Key, Model

#: Asks for a pod of a model. Called for every request that waits, so it has to be cheap.
Wake = Callable[[Key], None]


class Memory:
    """Bytes of bodies. `take` says whether there is room, and `give` returns it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int) -> bool:
        if self.held + size > self.most:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        self.held -= size


class Holds:
    """Who waits for which model."""

    def __init__(self, wake: Wake, metrics: Metrics) -> None:
        self._wake = wake
        self._metrics = metrics
        self._waiting: defaultdict[Key, dict[asyncio.Future[None], None]] = defaultdict(dict)
        self._closed = False

    def count(self, key: Key) -> int:
        return len(self._waiting.get(key, ()))

    def ask(self, model: Model) -> None:
        """For a pod, and for leave to wait for it. Raises Unavailable where too many wait already; a request
        that is turned away asks for a pod as well."""
        self._wake(model.key)
        self._check(model)

    async def wait(self, model: Model, until: float) -> None:
        """Returns when pods of the model may be ready. until: of the loop's clock.

        Raises Unavailable as `ask` does, or when it has become too late.
        """
        self.ask(model)
        queue = self._waiting[model.key]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[turn] = None
        held = self._metrics.held.labels(*model.key)
        held.inc()
        try:
            async with asyncio.timeout_at(until):
                await turn
        except TimeoutError:
            problem = f"{_named(model)} had no ready pod within {model.wait_seconds:.0f} s"
            raise Unavailable("model_loading", problem, model.retry_after) from None
        finally:
            held.dec()
            queue.pop(turn, None)
            if not queue:
                self._waiting.pop(model.key, None)
        if self._closed:
            raise Unavailable("model_loading", f"{_named(model)} is starting", 1)

    def release(self, key: Key) -> None:
        """Lets all of a model go, the first first."""
        for turn in self._waiting.get(key, ()):
            if not turn.done():
                turn.set_result(None)

    def close(self) -> None:
        """Nobody waits here any more: another gateway pod holds them, if they come again."""
        self._closed = True
        for key in list(self._waiting):
            self.release(key)

    def _check(self, model: Model) -> None:
        if self._closed:
            raise Unavailable("model_loading", f"{_named(model)} is starting", 1)
        if self.count(model.key) >= model.hold_requests:
            problem = f"{_named(model)} is starting, and {model.hold_requests} requests wait for it already"
            raise Unavailable("model_loading", problem, model.retry_after)


def _named(model: Model) -> str:
    return f"model {model.name!r} of namespace {model.namespace!r}"
