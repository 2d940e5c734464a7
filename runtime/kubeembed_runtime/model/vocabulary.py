"""Texts <-> the tokens that a vocabulary cuts them into, for people who look: nothing here is encoded."""

from collections.abc import Sequence
from itertools import accumulate

from tokenizers import Encoding, Tokenizer

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Token


class Vocabulary:
    """From any thread."""

    def __init__(self, fast: Tokenizer) -> None:
        self._fast = fast
        added = fast.get_added_tokens_decoder()
        self.size: int = max(
            [fast.get_vocab_size(with_added_tokens=False), *(id_ + 1 for id_ in added)]
        )
        self._learnt: int | None = None  # ids from here on have no embedding

    def limit(self, rows: int) -> None:
        """rows: of the model's embeddings. Some tokenizers have got tokens that their model never learnt."""
        self._learnt = rows if rows < self.size else None

    def check_learnt(self, ids: Sequence[int], index: int) -> None:
        """index: of the input whose ids these are. Raises InvalidInput for one that has no embedding."""
        if self._learnt is None or max(ids, default=0) < self._learnt:
            return
        name = self._fast.id_to_token(max(ids))
        problem = f"input {index} has the token {name!r}, of which the model has no embedding"
        raise InvalidInput("inputs", f"{problem}: leave it out", "invalid_token_id")

    def tokens(self, texts: Sequence[str], *, special: bool, prompt: str = "") -> list[list[Token]]:
        """Of each text after its prompt, uncut; places are bytes of prompt and text together."""
        whole = [prompt + text for text in texts]
        encodings = self._fast.encode_batch(whole, add_special_tokens=special)
        return [_tokens(*one) for one in zip(whole, encodings, strict=True)]

    def decode(self, ids: Sequence[Sequence[int]], *, skip_special: bool) -> list[str]:
        """Raises InvalidInput for an id that is none."""
        rows = [self.checked(row, index) for index, row in enumerate(ids)]
        return list(self._fast.decode_batch(rows, skip_special_tokens=skip_special))

    def checked(self, ids: Sequence[int], index: int) -> list[int]:
        """index: of the input whose ids these are. Raises InvalidInput."""
        for found in ids:
            if not 0 <= found < self.size:
                allowed = f"ids are between 0 and {self.size - 1}"
                problem = f"input {index} has token id {found}; {allowed}"
                raise InvalidInput("inputs", problem, "invalid_token_id")
        return list(ids)


def _tokens(text: str, encoding: Encoding) -> list[Token]:
    ends = [0, *accumulate(len(letter.encode("utf-8", "surrogatepass")) for letter in text)]
    parts = zip(
        encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
    )
    return [
        Token(token, name, True, None, None)
        if special
        else Token(token, text[start:stop], False, ends[start], ends[stop])
        for token, name, special, (start, stop) in parts
    ]
