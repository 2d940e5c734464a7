"""A request -> items, in tokenizer threads beside the device thread -> the batcher -> its outputs.

Tokenising releases the interpreter's lock, so it overlaps with the device; the event loop only passes on,
but for a short text, which is tokenised in less time than a thread takes to wake.
What is computed of the outputs afterwards (MaxSim, the mean of chunks) runs in the same threads.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.adapters import Adapter, Adapters
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import DeadlineExceeded, QueueFull
from kubeembed_runtime.items import count_tokens, items
from kubeembed_runtime.maxsim import maxsim
from kubeembed_runtime.offers import check, reads_pairs
from kubeembed_runtime.prompts import Prompts
from kubeembed_runtime.requests import (
    UNPROMPTED,
    Encoded,
    EncodeRequest,
    Item,
    Output,
    Pair,
    Prompting,
    Scored,
    ScoreRequest,
    Token,
    Vector,
)
from kubeembed_runtime.results import labels, pooled
from kubeembed_runtime.sizes import count_characters, longest
from kubeembed_runtime.tokens import Framing, Tokenize, Tokens, Vocabulary
from kubeembed_runtime.usage import Usage
from kubeembed_runtime.watch import Watch

T = TypeVar("T")

#: Requests that may wait for a tokenizer thread. Their bodies are what takes memory: 1,024 of them at most.
MAX_TOKENIZING = 1024

#: Characters of one request that the event loop tokenises itself: 25 us for a query of 64, as measured,
#: where the way to a tokenizer thread and back takes 60 to 75 more.
INLINE_CHARACTERS = 256

#: Characters of a request that goes to a thread for long ones: a second of tokenising is behind nobody's back
#: then but behind those of other long ones.
LONG_CHARACTERS = 65_536


class Pipeline:
    """The loaded model, as kubeembed_runtime.protocols.Model."""

    def __init__(
        self,
        *,
        info: RuntimeInfo,
        tokenize: Tokenize,
        vocabulary: Vocabulary,
        batcher: Batcher,
        threads: int,
        adapters: Adapters,
        prompts: Prompts | None = None,
        mean_maxsim: bool = False,
        observe: Callable[[str, float], None] = lambda adapter, seconds: None,
    ) -> None:
        """mean_maxsim: late interaction takes the mean over the query's tokens, as BGE-M3 does.

        observe: told of each request its adapter ("" without one) and its seconds in the tokenizer.
        """
        self.info, self.registry = info, adapters
        self._tokenize, self._vocabulary, self._batcher = tokenize, vocabulary, batcher
        self._prompts = prompts or Prompts()
        self._mean_maxsim, self._observe = mean_maxsim, observe
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tokenizer")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="long-tokenizer")
        self._tokenizing = 0

    @property
    def adapters(self) -> tuple[str, ...]:
        return self.registry.names

    @property
    def alive(self) -> bool:
        return self._batcher.alive

    @property
    def usage(self) -> Usage:
        return self._batcher.usage

    def close(self) -> None:
        """Ends the device threads after what was accepted."""
        self._batcher.close()
        self._threads.shutdown()
        self._long.shutdown()

    async def encode(self, request: EncodeRequest) -> Encoded:
        """Raises RequestFailed. Cancelled, it drops what has not run."""
        return await self.encode_with(request, await self._adapter(request.adapter))

    async def encode_with(self, request: EncodeRequest, adapter: Adapter | None) -> Encoded:
        """As `encode`, with an adapter that need not have a name here. Raises RequestFailed."""
        outputs = request.outputs or self.info.outputs[:1]
        check(self.info, request, outputs)
        most = longest(self.info.max_tokens, chunked=request.chunking is not None)
        prompt = self._prompts.before(request.prompting)
        size = count_characters(request.inputs, most, prompt)
        framing = Framing(
            prompt=prompt,
            side=request.prompting.side,
            truncate=request.truncate,
            chunking=request.chunking,
            max_tokens=request.max_tokens,
        )

        def tokenize() -> tuple[list[Tokens], list[Item]]:
            tokens = self._tokenize(request.inputs, framing)
            return tokens, items(tokens, framing, outputs, adapter, request)

        self._admit()
        watch = Watch()
        short = size <= INLINE_CHARACTERS
        tokens, asked = tokenize() if short else await self._beside(tokenize, size)
        self._observe(request.adapter or "", watch.tokenized())
        count = count_tokens(asked, request.token_limit)
        found = await self._run(asked, request.deadline, watch)
        encoded = Encoded(
            outputs=found,
            tokens=count,
            fingerprint=adapter.fingerprint if adapter else None,
            timing=watch.timing(),
        )
        if request.chunking is None:
            return encoded
        if not request.chunking.pooled:
            chunks = [one.chunk for one in tokens if one.chunk is not None]
            return replace(encoded, chunks=chunks)
        normalize = self.info.normalize if request.normalize is None else request.normalize
        means = await self._beside(lambda: pooled(tokens, found, normalize))
        return replace(encoded, outputs=means)

    async def score(self, request: ScoreRequest) -> Scored:
        """Raises RequestFailed; InvalidInput where the model gives neither scores nor multi-vectors."""
        pairs = reads_pairs(self.info)
        most = longest(self.info.max_tokens)
        prompt = self._prompts.before(Prompting(side="query", instruction=request.instruction))
        size = count_characters(request.queries, most, prompt)
        size += count_characters(request.documents, most)
        adapter = await self._adapter(request.adapter)
        query = Framing(prompt, "query", request.truncate)
        build = self._pairs if pairs else self._sides
        self._admit()
        watch = Watch()
        asked = await self._beside(lambda: build(request, query, adapter), size)
        self._observe(request.adapter or "", watch.tokenized())
        count = count_tokens(asked, request.token_limit)
        found = await self._run(asked, request.deadline, watch)
        compute = labels if pairs else partial(self._late, len(request.queries))
        mark = adapter.fingerprint if adapter else None
        timing = watch.timing()
        scores = await self._beside(lambda: compute(found))
        return Scored(scores=scores, tokens=count, fingerprint=mark, timing=timing)

    async def tokenize(
        self, texts: Sequence[str], *, special: bool = True, prompting: Prompting = UNPROMPTED
    ) -> Sequence[Sequence[Token]]:
        """The tokens of each text after its prompt. Raises RequestFailed."""
        prompt = self._prompts.before(prompting)
        size = count_characters(texts, longest(self.info.max_tokens), prompt)
        self._admit()
        return await self._beside(
            lambda: self._vocabulary.tokens(texts, special=special, prompt=prompt), size
        )

    async def decode(
        self, ids: Sequence[Sequence[int]], *, skip_special: bool = True
    ) -> Sequence[str]:
        """The text of each. Raises RequestFailed."""
        self._admit()
        return await self._beside(lambda: self._vocabulary.decode(ids, skip_special=skip_special))

    async def _run(
        self, asked: Sequence[Item], deadline: float | None, watch: Watch
    ) -> list[Output]:
        """Raises RequestFailed. What is late is answered when it is, however long the device goes on, and
        what of it has not run is dropped: its future is cancelled."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:  # an idle device would begin at once
            raise DeadlineExceeded("the deadline passed before the device was asked")
        running = asyncio.wrap_future(self._batcher.submit(asked, watch.started))
        try:
            async with asyncio.timeout(left):
                return await running
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the device was done") from None

    def _pairs(self, request: ScoreRequest, query: Framing, adapter: Adapter | None) -> list[Item]:
        count, queries = len(request.documents), request.queries
        asked = queries if len(queries) == count else [*queries] * count
        inputs = [Pair(*pair) for pair in zip(asked, request.documents, strict=True)]
        query = query._replace(max_tokens=request.document_tokens)
        return items(self._tokenize(inputs, query), query, ("score",), adapter, request)

    def _sides(self, request: ScoreRequest, query: Framing, adapter: Adapter | None) -> list[Item]:
        """The query, or all of them, then the documents."""
        prompt = self._prompts.before(Prompting(side="document"))
        most = request.document_tokens
        document = Framing(prompt, "document", request.truncate, max_tokens=most)
        sides = ((request.queries, query), (request.documents, document))
        return [
            item
            for texts, framing in sides
            for item in items(
                self._tokenize(texts, framing), framing, ("multivector",), adapter, request
            )
        ]

    def _late(self, queries: int, found: Sequence[Output]) -> Vector:
        """queries: so many of the first are."""
        vectors = [out.multivector for out in found if out.multivector is not None]
        asked, documents = vectors[:queries], vectors[queries:]
        score = partial(maxsim, mean=self._mean_maxsim)
        if queries == 1:
            return score(asked[0], documents)
        pairs = zip(asked, documents, strict=True)
        return np.concatenate([score(one, [other]) for one, other in pairs])

    async def _adapter(self, name: str | None) -> Adapter | None:
        """Raises UnknownModel, or AdapterRefused where it cannot be loaded."""
        found = None if name is None else self.registry.find(name)
        if isinstance(found, Future):
            loaded: Adapter = await _ended(found)
            return loaded
        return found

    def _admit(self) -> None:
        """Raises QueueFull, or whatever the device died of, before anything is tokenised."""
        self._batcher.admit(0)
        if self._tokenizing >= MAX_TOKENIZING:
            waiting = self._batcher.waiting_tokens
            raise QueueFull(
                waiting, self._batcher.capacity, max(1.0, self._batcher.waiting_seconds)
            )

    async def _beside(self, work: Callable[[], T], size: int = 0) -> T:
        """In a tokenizer thread. size: characters that it has to read."""
        loop = asyncio.get_running_loop()
        threads = self._long if size > LONG_CHARACTERS else self._threads
        self._tokenizing += 1
        try:
            return await loop.run_in_executor(threads, work)
        finally:
            self._tokenizing -= 1


async def _ended(shared: Future[T]) -> T:
    """The result of a future that others wait for, too: to leave cancels nothing."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    shared.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()
    return shared.result()
