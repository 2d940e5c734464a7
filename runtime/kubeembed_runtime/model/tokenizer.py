"""Texts, or token ids, -> the ids that the encoder reads: special tokens added, cut to the model's length.

It is the model's own tokenizer.json; the padding and truncation stored in it are whatever its author's last
call was, and are replaced.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding
from tokenizers import Tokenizer as Fast

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import InvalidInput, StartFailed
from kubeembed_runtime.requests import Input, Pair


class Tokenizer:
    """Safe to call from several threads at once; releases the interpreter's lock while it works."""

    def __init__(
        self, folder: Path, *, max_tokens: int, lower: bool = False, prompt: str = ""
    ) -> None:
        """max_tokens counts special tokens; prompt stands before every text. Raises StartFailed."""
        file = folder / "tokenizer.json"
        if not file.exists():
            problem = f"{folder} has no tokenizer.json; publish the fast tokenizer with the model"
            raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
        self._fast: Fast = Fast.from_file(str(file))
        self._fast.no_padding()
        self._fast.enable_truncation(max_length=max_tokens)
        self._lower, self._prompt, self._max_tokens = lower, prompt, max_tokens
        self._before, self._after = self._special_tokens()
        self.size: int = self._fast.get_vocab_size(with_added_tokens=True)

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after the ids of a text."""
        bare = self._fast.encode("a", add_special_tokens=False).ids
        full: list[int] = self._fast.encode("a").ids
        start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
        return full[:start], full[start + len(bare) :]

    def __call__(self, inputs: Sequence[Input]) -> list[Sequence[int]]:
        """The ids of each input. Raises InvalidInput for an id that is not in the vocabulary."""
        texts = [self._text(text) for text in inputs if isinstance(text, str)]
        encodings: list[Encoding] = self._fast.encode_batch_fast(texts) if texts else []
        read = iter(encodings)
        return [
            next(read).ids if isinstance(given, str) else self._framed(given, index)
            for index, given in enumerate(inputs)
            if not isinstance(given, Pair)
        ]

    def _text(self, text: str) -> str:
        return self._prompt + (text.lower() if self._lower else text)

    def _framed(self, ids: Sequence[int], index: int) -> Sequence[int]:
        """Ids as the client sent them, with the special tokens unless they are there already."""
        for found in ids:
            if not 0 <= found < self.size:
                allowed = f"ids are between 0 and {self.size - 1}"
                raise InvalidInput("inputs", f"input {index} has token id {found}; {allowed}")
        before, after = self._before, self._after
        middle = list(ids)
        if len(middle) >= len(before) + len(after) > 0:
            framed = middle[: len(before)] == before and middle[len(middle) - len(after) :] == after
            middle = middle[len(before) : len(middle) - len(after)] if framed else middle
        return [*before, *middle[: self._max_tokens - len(before) - len(after)], *after]
