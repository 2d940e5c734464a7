"""The values that travel from a contract through the batcher to the encoder and back.

A request is made of inputs; tokenised, an input is an item, the unit that batches are made of. Transport,
scheduling and model know each other through these values alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kubeembed_api import spec
from kubeembed_runtime.adapters import Adapter

#: What a model gives for a text; "score" is for a pair of texts as well.
#: "tokens": the hidden state of each token, special ones included, before any pooling or projection.
Kind = spec.Output | Literal["tokens"]

#: Which of the model's prompts stands before a text, where the caller names no other.
Side = Literal["query", "document"]

#: Which end of a text that is too long goes; or that the request is refused.
Truncate = Literal["right", "left", "refuse"]

Vector = NDArray[np.float32]


class Pair(NamedTuple):
    """Two texts that a cross-encoder reads together."""

    first: str
    second: str


#: A text, a pair of them, or token ids of the model's own vocabulary without its special tokens.
Input = str | Pair | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompting:
    """What stands before the texts. At most one of prompt_name and instruction; neither means the side's own.

    `instruction` fills the model's template; a model without one has it before the text.
    """

    side: Side | None = None
    prompt_name: str | None = None
    instruction: str | None = None


#: The default prompt of the model, if it has one.
UNPROMPTED = Prompting()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """Overlapping windows over a long text, in tokens without special ones. pooled: their mean alone.

    most: windows that all texts of a request may have together.
    """

    tokens: int
    overlap: int = 0
    pooled: bool = False
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeRequest:
    """What a contract asks for. `deadline` is a time of time.monotonic(); None waits for ever.

    None for outputs or truncate means: as the model's recipe says.
    """

    inputs: Sequence[Input]
    outputs: tuple[Kind, ...] | None = None
    prompting: Prompting = UNPROMPTED
    truncate: Truncate | None = None
    chunking: Chunking | None = None
    adapter: str | None = None
    dimensions: int | None = None
    deadline: float | None = None
    token_limit: int | None = None  # of all inputs together, after truncation
    max_tokens: int | None = None  # of each input, special ones included; no more than the model's
    normalize: bool | None = None  # dense vectors; None: as the recipe says
    raw: bool = False  # scores before the recipe's activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """How well each document answers the query: by a cross-encoder, or by MaxSim of a multi-vector model.

    query: one for all documents, or one for each.
    """

    query: str | Sequence[str]
    documents: Sequence[str]
    instruction: str | None = None
    truncate: Truncate | None = None
    adapter: str | None = None
    deadline: float | None = None
    token_limit: int | None = None
    document_tokens: int | None = None  # of each document; no more than the model's
    raw: bool = False  # of a cross-encoder, before the recipe's activation

    @property
    def queries(self) -> Sequence[str]:
        """Of one, or of as many as there are documents."""
        return [self.query] if isinstance(self.query, str) else self.query


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tokenised input and what is wanted of it. `ids` has the special tokens and fits the model.

    second: where the second text of a pair begins, for models that tell the two apart.
    attended: the other tokens see only so many, the rest are expansion (ColBERT's masks); None means all.
    prompt_tokens: so many of the first are left out, for models that pool without their prompt.
    """

    ids: Sequence[int]
    outputs: tuple[Kind, ...] = ("dense",)
    dimensions: int | None = None
    adapter: Adapter | None = None
    side: Side | None = None
    second: int | None = None
    attended: int | None = None
    prompt_tokens: int = 0
    normalize: bool | None = None
    raw: bool = False

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """Weights of vocabulary entries. indices: (n,) int32, ascending; values: (n,) float32, above 0."""

    indices: NDArray[np.int32]
    values: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one forward pass gave for one item; None is what was not asked for.

    dense: (dimensions,) float32. multivector: (tokens, dimensions) float32. score: (labels,) float32.
    tokens: (tokens, hidden) float32.
    """

    dense: Vector | None = None
    sparse: Sparse | None = None
    multivector: Vector | None = None
    score: Vector | None = None
    tokens: Vector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one request: in the tokenizer, waiting for the device, and from then to its last output."""

    tokenize: float = 0.0
    queue: float = 0.0
    inference: float = 0.0


class Token(NamedTuple):
    """A piece of a text. start, stop: its bytes in prompt and text, as UTF-8; None for a special token."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Chunk(NamedTuple):
    """Where an output comes from: which input, and its characters from start to before end."""

    input: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The outputs in the order of the inputs, and how many tokens were really read.

    With chunking that is not pooled there is an output per chunk; `chunks` says which is which. fingerprint:
    of the adapter that was used, None for the base's.
    """

    outputs: Sequence[Output]
    tokens: int
    chunks: Sequence[Chunk] | None = None
    fingerprint: str | None = None
    timing: Timing = Timing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """scores: (documents,) float32, in the order of the documents. fingerprint: as in Encoded."""

    scores: Vector
    tokens: int
    fingerprint: str | None = None
    timing: Timing = Timing()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """One run of the device, as metrics count it. `fill` is of the token budget, 0 to 1 and more.

    tokens: of each adapter; "" is the base without one. queue_seconds: the adapter and the wait of each
    request that started with this batch.
    """

    items: int
    tokens: Mapping[str, int]
    fill: float
    device_seconds: float
    queue_seconds: Sequence[tuple[str, float]]
    failed: bool
