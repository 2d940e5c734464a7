"""The tokens of a request -> the items that the batcher takes, and how many tokens they are."""

from collections.abc import Sequence

from kubeembed_runtime.adapters import Adapter
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import EncodeRequest, Item, Kind, ScoreRequest
from kubeembed_runtime.tokens import Framing, Tokens


def items(
    tokens: Sequence[Tokens],
    framing: Framing,
    outputs: tuple[Kind, ...],
    adapter: Adapter | None = None,
    request: EncodeRequest | ScoreRequest | None = None,
) -> list[Item]:
    """What the batcher takes, one for each. Raises InvalidInput for what is no token at all."""
    for index, one in enumerate(tokens):
        if not one.ids:  # it would be read from where its neighbour in a batch lies
            raise InvalidInput("inputs", f"input {index} has no tokens: send a text that has some")
    encode = request if isinstance(request, EncodeRequest) else None
    return [
        Item(
            ids=one.ids,
            outputs=outputs,
            dimensions=encode.dimensions if encode else None,
            normalize=encode.normalize if encode else None,
            raw=request is not None and request.raw,
            adapter=adapter,
            side=framing.side,
            second=one.second,
            attended=one.attended,
            prompt_tokens=one.prompt,
        )
        for one in tokens
    ]


def count_tokens(asked: Sequence[Item], limit: int | None) -> int:
    """The tokens of all. Raises InvalidInput for more than the contract allows in a request."""
    tokens = sum(item.tokens for item in asked)
    if limit is not None and tokens > limit:
        problem = f"{tokens} tokens in one request; at most {limit}: send fewer inputs"
        raise InvalidInput("inputs", problem, "max_tokens_per_request")
    return tokens
