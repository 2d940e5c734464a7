"""How a model turns texts into vectors: the values, each with who told it. `resolving` fills them in.

Nothing here needs torch, so that `kubeembed-runtime recipe` answers at once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Generic, Literal, TypeVar

from kubeembed_api.spec import Pooling
from kubeembed_runtime.requests import Kind, Truncate

T_co = TypeVar("T_co", covariant=True)

SparseActivation = Literal["relu", "log1p_relu", "log1p_log1p_relu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Generic[T_co]):
    """A value and who said so: a file of the model, the catalogue, or a field of the document."""

    value: T_co
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseRecipe:
    """Weights over the vocabulary.

    mlm: the masked-language-model head's logits, the largest over the tokens (SPLADE).
    linear: one number per token, the largest over equal ids (BGE-M3), from `file`.
    skip: tokens by name whose weights are left out. documents_only: a query is not encoded by the model, it
    has a fixed weight per token (OpenSearch's doc models).
    """

    kind: Literal["mlm", "linear"]
    activation: SparseActivation
    skip: tuple[str, ...] = ()
    documents_only: bool = False
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MultivectorRecipe:
    """A vector per token, and how a text is dressed for it.

    file: the projection's weights, beside the model's own or among them; None means no projection.
    query_tokens, document_tokens: how long a text may be on each side, markers and special tokens included;
    None means as long as the model allows. expand: a query is filled up with [MASK] to query_tokens;
    attend_expansion: the query's own tokens see those masks. skip: tokens by name that give no vector in a
    document (ColBERT's punctuation). skip_first: nor does the first token of any text (BGE-M3's CLS).
    mean: the score is the mean over the query's tokens (BGE-M3), not the sum (ColBERT).
    """

    dimensions: int
    query_tokens: int | None = None
    document_tokens: int | None = None
    expand: bool = False
    attend_expansion: bool = False
    query_marker: str | None = None
    document_marker: str | None = None
    skip: tuple[str, ...] = ()
    skip_first: bool = False
    normalize: bool = True
    mean: bool = False
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecipe:
    """A cross-encoder's answer for a pair: `labels` numbers."""

    labels: int
    activation: Literal["sigmoid", "identity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything between a text and its vector that is not a weight.

    outputs: the kinds the model gives, the first where nobody asks for another. pooling, normalize and
    dimensions are of dense vectors; without those pooling is None, normalize False and dimensions 0. Several
    poolings give one vector, end to end in their order.
    max_tokens counts special tokens. prompts: what stands before a text, by name, literally; default,
    query and document prompt: what stands there when no name is given. instruction: the template that a
    caller's instruction fills, with {instruction} in it. include_prompt: whether pooling
    counts the prompt's tokens. causal: a token does not see later ones. projections: folders of
    sentence-transformers' Dense modules after pooling, in their order.
    """

    outputs: Told[tuple[Kind, ...]]
    pooling: Told[Pooling | tuple[Pooling, ...] | None]
    normalize: Told[bool]
    max_tokens: Told[int]
    dimensions: Told[int]
    lower: Told[bool]
    truncation: Told[Truncate]
    prompts: Told[Mapping[str, str]]
    default_prompt: Told[str]
    query_prompt: Told[str]
    document_prompt: Told[str]
    instruction: Told[str | None]
    default_instruction: Told[str | None]
    include_prompt: Told[bool]
    causal: Told[bool]
    append_eos: Told[bool]
    projections: Told[tuple[str, ...]]
    sparse: Told[SparseRecipe | None]
    multivector: Told[MultivectorRecipe | None]
    score: Told[ScoreRecipe | None]

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """Empty where there is no dense output."""
        found = self.pooling.value
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def widths(self, vocabulary: int) -> dict[Kind, int]:
        """How many numbers each output has: of a vector, of a token's vector, of labels."""
        multivector, score = self.multivector.value, self.score.value
        known: dict[Kind, int] = {
            "dense": self.dimensions.value,
            "sparse": vocabulary,
            "multivector": multivector.dimensions if multivector else 0,
            "score": score.labels if score else 0,
        }
        return {kind: known[kind] for kind in self.outputs.value}

    def plain(self) -> dict[str, object]:
        """The values alone, as the fingerprint hashes them."""
        return {name: _plain(getattr(self, name).value) for name in self.__dataclass_fields__}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value
