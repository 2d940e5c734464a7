"""A request to TEI's contract whose body has been read, and what all its answers make of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kubeembed_runtime.api.contract import deadline, unless_gone
from kubeembed_runtime.api.limits import MAX_TOKENS
from kubeembed_runtime.api.vectors import marked
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.requests import (
    Encoded,
    EncodeRequest,
    Input,
    Kind,
    Prompting,
    Scored,
    Truncate,
)

B = TypeVar("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request whose body has been read."""

    request: Request
    lifecycle: Lifecycle
    body: bytes
    begun: float = field(default_factory=time.perf_counter)

    def read(self, kind: type[B]) -> B:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body, type=kind)

    def adapter(self, model: str | None) -> str | None:
        """Raises UnknownModel."""
        return None if model is None else self.lifecycle.adapter(model)

    async def encode(
        self,
        inputs: Sequence[Input],
        kind: Kind,
        *,
        truncate: Truncate | None,
        prompt_name: str | None = None,
        model: str | None = None,
        **more: Any,
    ) -> Encoded:
        """more: what else an EncodeRequest has. Raises RequestFailed."""
        asked = EncodeRequest(
            inputs=inputs,
            outputs=(kind,),
            prompting=Prompting(prompt_name=prompt_name),
            truncate=truncate,
            adapter=self.adapter(model),
            deadline=deadline(self.request),
            token_limit=MAX_TOKENS,
            **more,
        )
        return await unless_gone(self.request, self.lifecycle.model.encode(asked))

    def headed(self, response: Response, done: Encoded | Scored, characters: int) -> Response:
        """With TEI's headers, times in milliseconds, and the fingerprint of an adapter that was used."""
        seconds, timing = time.perf_counter() - self.begun, done.timing
        times = {
            "x-compute-time": seconds,
            "x-total-time": seconds,
            "x-tokenization-time": timing.tokenize,
            "x-queue-time": timing.queue,
            "x-inference-time": timing.inference,
        }
        on_cpu = self.lifecycle.model.info.device == "cpu"
        told = {name: f"{time * 1000:.0f}" for name, time in times.items()} | {
            "x-compute-type": "cpu" if on_cpu else "gpu+optimized",
            "x-compute-characters": str(characters),
            "x-compute-tokens": str(done.tokens),
        }
        response.headers.update(told)
        return marked(response, done)
