"""A model whose answers are counted: by adapter, with their tokens and the time in the tokenizer."""

from collections.abc import Callable, Sequence

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.requests import (
    UNPROMPTED,
    Adapters,
    Encoded,
    EncodeRequest,
    Model,
    Prompting,
    Scored,
    ScoreRequest,
    Timing,
    Token,
)

#: (adapter, or "" for the base; tokens; timing).
Count = Callable[[str, int, Timing], None]


class Counted:
    """As kubeembed_runtime.requests.Model, over another."""

    def __init__(self, model: Model, count: Count) -> None:
        self._model, self._count = model, count

    @property
    def info(self) -> RuntimeInfo:
        return self._model.info

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._model.adapters

    @property
    def registry(self) -> Adapters:
        return self._model.registry

    @property
    def alive(self) -> bool:
        return self._model.alive

    async def encode(self, request: EncodeRequest) -> Encoded:
        encoded = await self._model.encode(request)
        self._count(request.adapter or "", encoded.tokens, encoded.timing)
        return encoded

    async def score(self, request: ScoreRequest) -> Scored:
        scored = await self._model.score(request)
        self._count(request.adapter or "", scored.tokens, scored.timing)
        return scored

    async def tokenize(
        self, texts: Sequence[str], *, special: bool = True, prompting: Prompting = UNPROMPTED
    ) -> Sequence[Sequence[Token]]:
        return await self._model.tokenize(texts, special=special, prompting=prompting)

    async def decode(
        self, ids: Sequence[Sequence[int]], *, skip_special: bool = True
    ) -> Sequence[str]:
        return await self._model.decode(ids, skip_special=skip_special)
