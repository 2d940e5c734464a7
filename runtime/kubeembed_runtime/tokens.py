"""What the pipeline tells a tokenizer, and what it gets: the seam between scheduling and the model."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kubeembed_runtime.requests import Chunk, Chunking, Input, Side, Token, Truncate


class Framing(NamedTuple):
    """How the inputs of one request are put into tokens. truncate: None means as the recipe says.

    max_tokens: of an input with its special tokens, or of the second text of a pair without them; what is
    longer is cut as if the model read no more.
    """

    prompt: str = ""
    side: Side | None = None
    truncate: Truncate | None = None
    chunking: Chunking | None = None
    max_tokens: int | None = None


#: No prompt, no side, cut as the recipe says.
PLAIN = Framing()


class Tokens(NamedTuple):
    """One input, or one chunk of it: ids with all special tokens; the rest as in Item.

    prompt: how many of the first tokens pooling leaves out. chunk: where a chunk comes from.
    """

    ids: Sequence[int]
    second: int | None = None
    attended: int | None = None
    prompt: int = 0
    chunk: Chunk | None = None


class Tokenize(Protocol):
    """Called from several threads at once."""

    def __call__(self, inputs: Sequence[Input], framing: Framing) -> list[Tokens]:
        """In the order of the inputs, one each unless they are cut into chunks. Raises InvalidInput."""
        ...


class Vocabulary(Protocol):
    """Texts <-> tokens, for those who look at them. From any thread."""

    def tokens(
        self, texts: Sequence[str], *, special: bool, prompt: str = ""
    ) -> Sequence[Sequence[Token]]: ...

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> Sequence[str]:
        """Raises InvalidInput."""
        ...
