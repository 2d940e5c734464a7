"""The tokens of a long text -> overlapping windows of it, and where in the text each of them lies."""

from collections.abc import Sequence
from typing import NamedTuple

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Chunking

#: Tokens that all windows of a request may have together, prompts included: more than a request of any
#: contract may have. Each window is a list and a few values besides: 300 MB where they are of one token.
MAX_TOKENS = 2**19


class Window(NamedTuple):
    """Token ids, and the characters of the text that they are, from start to before end."""

    ids: list[int]
    start: int
    end: int


class Windows(NamedTuple):
    """The tokens of the prompt, which stand before each window."""

    prompt: list[int]
    cuts: list[Window]


class Allowance:
    """How many windows, and tokens in them, the texts of a request may still have."""

    def __init__(self, chunking: Chunking) -> None:
        self._chunking = chunking
        self._windows = self._tokens = 0

    def take(self, tokens: int, prompt: int) -> None:
        """For the next text. prompt: tokens that stand before each window. Raises InvalidInput."""
        shared, step = self._chunking.overlap, self._chunking.tokens - self._chunking.overlap
        windows = max(1, -(-(tokens - shared) // step))  # the last may be shorter
        self._windows += windows
        self._tokens += tokens + (windows - 1) * shared + windows * prompt
        way = "write a smaller overlap or larger chunks, or send less text"
        most = self._chunking.most
        if most is not None and self._windows > most:
            raise InvalidInput("chunking", f"{self._windows} chunks or more; at most {most}: {way}")
        if self._tokens > MAX_TOKENS:
            read = f"chunks of {self._tokens} tokens or more, overlaps and prompts included"
            raise InvalidInput("chunking", f"{read}; at most {MAX_TOKENS}: {way}")


def cut_into_windows(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    prompt: int,
    chunking: Chunking,
    room: int,
    allowance: Allowance,
) -> Windows:
    """ids, offsets: of a text behind a prompt of so many characters. room: tokens of prompt and window.

    Neighbours share `overlap` tokens; the last window ends with the text and may be shorter. A text without
    tokens is one empty window. A token of both the prompt and the text (a blank and a word) is the text's.
    Raises InvalidInput for windows that the model cannot read, or that do not move, or that are too many:
    before any of them is made.
    """
    own = next((at for at, (_, end) in enumerate(offsets) if end > prompt), len(ids))
    _check(chunking, room - own)
    allowance.take(len(ids) - own, own)
    step, cuts = chunking.tokens - chunking.overlap, []
    for begin in range(own, max(own + 1, len(ids)), step):
        end = min(begin + chunking.tokens, len(ids))
        places = offsets[begin:end]
        start = max(0, places[0][0] - prompt) if places else 0
        stop = places[-1][1] - prompt if places else 0
        cuts.append(Window(list(ids[begin:end]), start, stop))
        if end == len(ids):
            break
    return Windows(list(ids[:own]), cuts)


def _check(chunking: Chunking, room: int) -> None:
    if not 1 <= chunking.tokens <= room:
        problem = f"chunks of {chunking.tokens} tokens; between 1 and {room} fit into the model"
        raise InvalidInput("chunking", f"{problem}, beside the prompt and the special tokens")
    if not 0 <= chunking.overlap < chunking.tokens:
        problem = f"chunks of {chunking.tokens} tokens that overlap by {chunking.overlap}"
        raise InvalidInput(
            "chunking", f"{problem}; write an overlap from 0 to {chunking.tokens - 1}"
        )
