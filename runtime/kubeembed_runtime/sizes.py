"""How long the texts of a request are, in characters: what is refused before any tokenising, what goes apart.

A tokenizer reads a text to its end, also where the model reads the beginning alone, and a megabyte takes it
up to seconds. To give it only the head would change the tokens at the cut for some tokenizers.
"""

from collections.abc import Sequence

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Input, Pair

#: Of one text: 512 for each token that a model of 256 reads.
MAX_CHARACTERS = 131_072

#: Of one text by a model that reads more; ordinary prose has four to five.
CHARACTERS_PER_TOKEN = 32

#: Of one text that is cut into chunks, all of which are read: more than 300,000 tokens of prose.
MAX_CHUNKED_CHARACTERS = 2**20


def longest(max_tokens: int, *, chunked: bool = False) -> int:
    """Characters that one text may have, for a model that reads so many tokens."""
    most = max(MAX_CHARACTERS, CHARACTERS_PER_TOKEN * max_tokens)
    return max(most, MAX_CHUNKED_CHARACTERS) if chunked else most


def count_characters(inputs: Sequence[Input], most: int) -> int:
    """Of all texts together; a token id counts as one. Raises InvalidInput for a text that is too long."""
    total = 0
    for index, given in enumerate(inputs):
        sizes = [len(text) for text in given] if isinstance(given, Pair) else [len(given)]
        total += sum(sizes)
        if max(sizes) > most and isinstance(given, str | Pair):
            problem = f"input {index} has {max(sizes)} characters; at most {most}"
            raise InvalidInput("inputs", f"{problem}: shorten it, or split it", "input_too_long")
    return total
