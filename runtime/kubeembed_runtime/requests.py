"""The values that travel from a contract through the batcher to the encoder and back.

A request is made of inputs; tokenised, an input is an item, the unit that batches are made of. Transport,
scheduling and model know each other through these values alone.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kubeembed_api import document
from kubeembed_api.report import RuntimeInfo

#: What a model gives for a text; "score" is for a pair of texts as well.
#: "tokens": the hidden state of each token, special ones included, before any pooling or projection.
Kind = document.Output | Literal["tokens"]

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
    """Overlapping windows over a long text, in tokens without special ones. pooled: their mean alone."""

    tokens: int
    overlap: int = 0
    pooled: bool = False


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


class Adapter(Protocol):
    """A loaded LoRA adapter. Whoever holds the value can use it, also after it was replaced or removed."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """That of the vectors which it makes of the base."""
        ...

    @property
    def base(self) -> str | None:
        """The model that it was trained on, as its files say."""
        ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterState:
    """An adapter that requests may name. `loaded` is None while its tensors are not in memory.

    problem: why it could not be loaded when it was last tried.
    """

    name: str
    folder: Path
    loaded: Adapter | None
    problem: str | None = None


class Adapters(Protocol):
    """The adapters of a model. From any thread; changes happen one after another."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def states(self) -> tuple[AdapterState, ...]: ...

    def find(self, name: str) -> "Adapter | Future[Adapter]":
        """At once where it is loaded. Raises UnknownModel; the future raises AdapterRefused."""
        ...

    def declare(self, name: str, folder: Path) -> None:
        """As `put`, but it is loaded when it is first asked for, and refused then."""
        ...

    def put(self, name: str, folder: Path) -> "Future[Adapter]":
        """Loads and declares it, in the place of one of its name. The future raises AdapterRefused."""
        ...

    def remove(self, name: str) -> "Future[None]":
        """The future raises UnknownModel."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tokenised input and what is wanted of it. `ids` has the special tokens and fits the model.

    second: where the second text of a pair begins, for models that tell the two apart.
    attended: the other tokens see only so many, the rest are expansion (ColBERT's masks); None means all.
    prompt_tokens: so many of the first are left out of the mean, for models that pool without their prompt.
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


class Model(Protocol):
    """A loaded model, as the contracts see it."""

    @property
    def info(self) -> RuntimeInfo: ...

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of those that may be asked for."""
        ...

    @property
    def registry(self) -> Adapters: ...

    @property
    def alive(self) -> bool:
        """False once the device thread has ended: nothing will be answered any more."""
        ...

    async def encode(self, request: EncodeRequest) -> Encoded:
        """Raises RequestFailed."""
        ...

    async def score(self, request: ScoreRequest) -> Scored:
        """Raises RequestFailed."""
        ...

    async def tokenize(
        self, texts: Sequence[str], *, special: bool = True, prompting: Prompting = UNPROMPTED
    ) -> Sequence[Sequence[Token]]:
        """The tokens of each text, uncut. Raises RequestFailed."""
        ...

    async def decode(
        self, ids: Sequence[Sequence[int]], *, skip_special: bool = True
    ) -> Sequence[str]:
        """The text of each. Raises RequestFailed; InvalidInput for ids that the vocabulary lacks."""
        ...
