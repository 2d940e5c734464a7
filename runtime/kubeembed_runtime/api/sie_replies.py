"""What SIE's paths answer, for the description alone: in JSON, where arrays are lists."""

import msgspec

Numbers = list[float]


class Dense(msgspec.Struct, omit_defaults=True):
    """dims: of the vector, also where its bits are packed. int8, uint8: values * scale + offset."""

    dims: int
    dtype: str
    values: Numbers
    scale: float | None = None
    offset: float | None = None


class SparseValues(msgspec.Struct):
    """dims: entries of the vocabulary."""

    dims: int | None
    dtype: str
    indices: list[int]
    values: Numbers


class Multivector(msgspec.Struct, omit_defaults=True):
    """A vector for each token, and for int8 and uint8 the scale and offset of each."""

    token_dims: int
    num_tokens: int
    dtype: str
    values: list[Numbers]
    scales: Numbers | None = None
    offsets: Numbers | None = None


class Result(msgspec.Struct, omit_defaults=True):
    """Of one item: what was asked for."""

    id: str | None = None
    dense: Dense | None = None
    sparse: SparseValues | None = None
    multivector: Multivector | None = None


class Times(msgspec.Struct):
    """Milliseconds."""

    total_ms: float
    queue_ms: float
    tokenization_ms: float
    inference_ms: float
    postprocessing_ms: float


class Usage(msgspec.Struct):
    """In tokens that were really read."""

    input_tokens: int


class EncodeReply(msgspec.Struct):
    """A result per item, in their order."""

    model: str
    items: list[Result]
    usage: Usage
    timing: Times


class Score(msgspec.Struct):
    """rank: from 0. item_id: as sent, or item-INDEX."""

    item_id: str
    score: float
    rank: int


class ScoreReply(msgspec.Struct):
    """The best first."""

    model: str
    query_id: str | None
    scores: list[Score]
    usage: Usage
    timing: Times
