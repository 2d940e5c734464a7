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

#: Of a prompt or an instruction, for all texts that it stands before: a body has no more either.
MAX_PROMPTED_CHARACTERS = 2**24


def longest(max_tokens: int, *, chunked: bool = False) -> int:
    """Characters that one text may have, for a model that reads so many tokens."""
    most = max(MAX_CHARACTERS, CHARACTERS_PER_TOKEN * max_tokens)
    return max(most, MAX_CHUNKED_CHARACTERS) if chunked else most


def count_characters(inputs: Sequence[Input], most: int, prompt: str = "") -> int:
    """Of all texts together, the prompt before each of them; a token id counts as one. Raises InvalidInput
    for a text that is too long, or a prompt."""
    total = _count_prompts(prompt, len(inputs), most)
    for index, given in enumerate(inputs):
        sizes = [len(text) for text in given] if isinstance(given, Pair) else [len(given)]
        total += sum(sizes)
        if max(sizes) > most and isinstance(given, str | Pair):
            problem = f"input {index} has {max(sizes)} characters; at most {most}"
            raise InvalidInput("inputs", f"{problem}: shorten it, or split it", "input_too_long")
    return total


def _count_prompts(prompt: str, inputs: int, most: int) -> int:
    size = len(prompt)
    if size > most:
        problem = f"the prompt or instruction has {size} characters; at most {most}: shorten it"
        raise InvalidInput("prompt", problem, "input_too_long")
    if size * inputs > MAX_PROMPTED_CHARACTERS:
        problem = f"a prompt or instruction of {size} characters before each of {inputs} inputs"
        allowed = f"at most {MAX_PROMPTED_CHARACTERS} characters in all: shorten it, or send fewer"
        raise InvalidInput("prompt", f"{problem}; {allowed}", "input_too_long")
    return size * inputs
