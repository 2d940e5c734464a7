"""The values that travel from a contract through the batcher to the encoder and back.

A request is made of inputs; tokenised, an input is an item, the unit that batches are made of. Transport,
scheduling and model know each other through these values alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kubeembed_api.report import RuntimeInfo

#: A text, or token ids of the model's own vocabulary without its special tokens.
Input = str | Sequence[int]

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """What a contract asks for. `deadline` is a time of time.monotonic(); None waits for ever."""

    inputs: Sequence[Input]
    adapter: str | None = None
    dimensions: int | None = None
    deadline: float | None = None
    token_limit: int | None = None  # of all inputs together, after truncation


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tokenised input and what is wanted of it. `ids` has the special tokens and fits the model."""

    ids: Sequence[int]
    dimensions: int | None = None
    adapter: str | None = None

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one forward pass gave for one item. dense: (dimensions,) float32."""

    dense: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The outputs in the order of the inputs, and how many tokens were really read."""

    outputs: Sequence[Output]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """One run of the device, as metrics count it. `fill` is of the token budget, 0 to 1 and more."""

    items: int
    tokens: int
    fill: float
    device_seconds: float
    queue_seconds: Sequence[float]  # per request that started with this batch
    failed: bool


class Model(Protocol):
    """A loaded model, as the contracts see it."""

    @property
    def info(self) -> RuntimeInfo: ...

    @property
    def adapters(self) -> tuple[str, ...]: ...

    @property
    def alive(self) -> bool:
        """False once the device thread has ended: nothing will be answered any more."""
        ...

    async def encode(self, request: EncodeRequest) -> Encoded:
        """Raises RequestFailed."""
        ...
