"""What TEI's clients send, as values, and how it becomes inputs.

Unknown fields are refused, where TEI drops them. `model` is ours: TEI serves one model per process and has no
word for an adapter.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from kubeembed_runtime.api.limits import check_count
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Input, Pair, Truncate

Direction = Literal["right", "left", "Right", "Left"]
Inputs = str | list[str | int | list[int]]


class _Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """truncate: None and True cut, as the recipe says and from `truncation_direction`; False refuses."""

    truncate: bool | None = None
    truncation_direction: Direction | None = None
    model: str | None = None

    @property
    def cut(self) -> Truncate | None:
        if self.truncate is False:
            return "refuse"
        if self.truncation_direction is not None:
            return "left" if self.truncation_direction.lower() == "left" else "right"
        return "right" if self.truncate else None


class TokensBody(_Body):
    """POST /embed_all, /embed_sparse."""

    inputs: Inputs
    prompt_name: str | None = None


class EmbedBody(TokensBody):
    """POST /embed."""

    normalize: bool | None = True
    dimensions: int | None = None


class RerankBody(_Body):
    """POST /rerank with `texts`."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class PredictBody(_Body):
    """POST /predict: a text, a pair of them, or several of either."""

    inputs: str | list[str | list[str]]
    raw_scores: bool = False


class Sentences(msgspec.Struct, forbid_unknown_fields=True):
    """What /similarity compares."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(_Body):
    """Of /similarity."""

    prompt_name: str | None = None


class SimilarityBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /similarity."""

    inputs: Sentences
    parameters: SimilarityParameters | None = None


class TokenizeBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /tokenize."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class DecodeBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /decode."""

    ids: list[int | list[int]]
    skip_special_tokens: bool = True


class VertexBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /vertex. parameters: Vertex AI's own, which TEI has none of."""

    instances: list[msgspec.Raw]
    parameters: None = None


class Either(msgspec.Struct):
    """POST /: what tells bodies apart, left as it was sent; empty where it was not."""

    inputs: msgspec.Raw = msgspec.Raw()
    texts: msgspec.Raw = msgspec.Raw()


def inputs(sent: Inputs) -> list[Input]:
    """Texts, or token ids of one input or of several. Raises InvalidInput."""
    if isinstance(sent, str):
        return list(_texts([sent]))
    counted("inputs", sent)
    if all(isinstance(one, str) for one in sent):
        return list(_texts([one for one in sent if isinstance(one, str)]))
    if rows := id_rows("inputs", sent):
        return list(rows)
    raise InvalidInput("inputs", "`inputs` mixes texts and token ids; send one kind per request")


def id_rows(name: str, sent: Sequence[str | int | list[int]]) -> list[list[int]]:
    """One row of ids, or several; none for what is neither. Raises InvalidInput for an empty row.

    name: of the field that they are sent in.
    """
    if all(isinstance(one, int) for one in sent):
        return [[one for one in sent if isinstance(one, int)]]
    rows = [one for one in sent if isinstance(one, list)]
    if len(rows) < len(sent):
        return []
    if not all(rows):
        raise empty(f"`{name}` has an entry without token ids; leave it out")
    return rows


def pairs(sent: str | list[str | list[str]]) -> tuple[list[Input], bool]:
    """Texts and pairs, and whether they came as a batch. Raises InvalidInput."""
    if isinstance(sent, str):
        return list(_texts([sent])), False
    counted("inputs", sent)
    if all(isinstance(one, str) for one in sent):
        return [_pair([one for one in sent if isinstance(one, str)])], False
    if not all(isinstance(one, list) for one in sent):
        raise InvalidInput("inputs", "`inputs` mixes texts and lists; send a list of lists")
    return [_pair(one) for one in sent if isinstance(one, list)], True


def _pair(texts: Sequence[str]) -> Input:
    if not 1 <= len(texts) <= 2:
        problem = f"an entry has {len(texts)} texts; send one text or a pair of them"
        raise InvalidInput("inputs", problem)
    _texts(texts)
    return texts[0] if len(texts) == 1 else Pair(texts[0], texts[1])


def texts(name: str, sent: Sequence[str]) -> Sequence[str]:
    """Raises InvalidInput for none, too many, and an empty one."""
    counted(name, sent)
    return _texts(sent)


def counted(name: str, sent: Sequence[object]) -> None:
    """Raises InvalidInput."""
    if not sent:
        raise empty(f"`{name}` cannot be empty")
    check_count(f"`{name}`", sent)


def _texts(sent: Sequence[str]) -> Sequence[str]:
    if not all(sent):
        raise empty("an input is an empty text; leave it out")
    return sent


def empty(problem: str) -> InvalidInput:
    """What TEI calls Empty."""
    return InvalidInput("inputs", problem, "empty")
