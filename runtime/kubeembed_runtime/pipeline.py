"""A request -> items, in tokeniser threads beside the device thread -> the batcher -> its outputs.

Tokenising releases the interpreter's lock, so it overlaps with the device; the event loop only passes on.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import InvalidInput, QueueFull, UnknownModel
from kubeembed_runtime.requests import Encoded, EncodeRequest, Input, Item

Tokenize = Callable[[Sequence[Input]], list[Sequence[int]]]

#: Requests that may wait for a tokeniser thread. Their bodies are what takes memory: 1,024 of them at most.
MAX_TOKENIZING = 1024


class Pipeline:
    """The loaded model, as kubeembed_runtime.requests.Model."""

    def __init__(
        self,
        *,
        info: RuntimeInfo,
        tokenize: Tokenize,
        batcher: Batcher,
        threads: int,
        adapters: tuple[str, ...] = (),
    ) -> None:
        self.info, self.adapters = info, adapters
        self._tokenize, self._batcher = tokenize, batcher
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tokenizer")
        self._tokenizing = 0

    @property
    def alive(self) -> bool:
        return self._batcher.alive

    def close(self) -> None:
        """Ends the device thread after what was accepted."""
        self._batcher.close()
        self._threads.shutdown()

    async def encode(self, request: EncodeRequest) -> Encoded:
        """Raises RequestFailed. Cancelled, it drops what has not run."""
        self._check(request)
        items = await self._items(request)
        tokens = sum(item.tokens for item in items)
        if request.token_limit is not None and tokens > request.token_limit:
            problem = (
                f"{tokens} tokens in one request; at most {request.token_limit}: send fewer inputs"
            )
            raise InvalidInput("inputs", problem, "max_tokens_per_request")
        outputs = await asyncio.wrap_future(self._batcher.submit(items, request.deadline))
        return Encoded(outputs=outputs, tokens=tokens)

    def _check(self, request: EncodeRequest) -> None:
        if request.adapter is not None and request.adapter not in self.adapters:
            raise UnknownModel(f"{self.info.name}:{request.adapter}", (self.info.name,))
        if request.dimensions is not None and not 1 <= request.dimensions <= self.info.dimensions:
            allowed = f"between 1 and {self.info.dimensions}"
            problem = f"dimensions is {request.dimensions}; {self.info.name} has vectors {allowed}"
            raise InvalidInput("dimensions", problem)
        self._batcher.admit(0)
        if self._tokenizing >= MAX_TOKENIZING:
            waiting = self._batcher.waiting_tokens
            raise QueueFull(
                waiting, self._batcher.capacity, max(1.0, self._batcher.waiting_seconds)
            )

    async def _items(self, request: EncodeRequest) -> list[Item]:
        loop = asyncio.get_running_loop()
        self._tokenizing += 1
        try:
            found = await loop.run_in_executor(self._threads, self._tokenize, request.inputs)
        finally:
            self._tokenizing -= 1
        return [Item(ids=ids, dimensions=request.dimensions) for ids in found]
