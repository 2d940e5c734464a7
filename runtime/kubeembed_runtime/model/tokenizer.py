"""Texts, pairs of them or token ids -> the ids that the encoder reads, framed and cut to the model's length.

`tokenizerfiles` opens the model's own tokenizer. Framing and cutting are done here: they differ from request
to request, and the library keeps its settings in the tokenizer, which all threads share.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Encoding

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import InvalidInput, StartFailed
from kubeembed_runtime.model.chunks import Allowance, Windows, cut_into_windows
from kubeembed_runtime.model.files import TOKENIZER, Files
from kubeembed_runtime.model.frames import Frame, PairFrame, longest_first, part
from kubeembed_runtime.model.recipes import MultivectorRecipe, Recipe
from kubeembed_runtime.model.tokenizerfiles import read_tokenizer
from kubeembed_runtime.model.vocabulary import Vocabulary
from kubeembed_runtime.requests import Chunk, Chunking, Input, Pair, Side, Truncate
from kubeembed_runtime.tokens import PLAIN, Framing, Tokens

#: Inputs whose whole texts are held as tokens at once; afterwards only what the model reads is. 16 MiB of
#: texts are 300 MB of them.
SLICE = 64


class Tokenizer:
    """Safe to call from several threads at once; releases the interpreter's lock while it works."""

    def __init__(
        self,
        folder: Path,
        *,
        max_tokens: int,
        lower: bool = False,
        truncation: Truncate = "right",
        append_eos: bool = False,
        include_prompt: bool = True,
        multivector: MultivectorRecipe | None = None,
    ) -> None:
        """max_tokens counts special tokens. Raises StartFailed."""
        opened = read_tokenizer(Files(folder), lower=lower)
        self._fast, specials = opened.fast, opened.specials
        self._truncation, self._max_tokens = truncation, max_tokens
        self._include_prompt, self._dress = (
            include_prompt,
            multivector or MultivectorRecipe(dimensions=0),
        )
        end, filler = specials.content("eos_token"), specials.filler
        self._eos = self._special(folder, "eos_token", end) if append_eos else None
        self._mask = self._special(folder, "mask_token", filler) if self._dress.expand else None
        plain = Frame.of(self._fast, self._eos)
        self._frames: dict[Side | None, Frame] = {
            "query": plain.marked(self._marker(self._dress.query_marker)),
            "document": plain.marked(self._marker(self._dress.document_marker)),
        }
        self._frames[None] = self._frames["document"]
        self._pair = PairFrame.of(self._fast, kinds=opened.kinds)
        self.vocabulary = Vocabulary(self._fast)

    @classmethod
    def of(cls, folder: Path, recipe: Recipe) -> "Tokenizer":
        """As the recipe says. Raises StartFailed."""
        return cls(
            folder,
            max_tokens=recipe.max_tokens.value,
            lower=recipe.lower.value,
            truncation=recipe.truncation.value,
            append_eos=recipe.append_eos.value,
            include_prompt=recipe.include_prompt.value,
            multivector=recipe.multivector.value,
        )

    def ids(self, names: Sequence[str]) -> list[int]:
        """The ids of tokens; a name that is no token here has none."""
        found = (self._fast.token_to_id(name) for name in names)
        return [token for token in found if token is not None]

    def __call__(self, inputs: Sequence[Input], framing: Framing = PLAIN) -> list[Tokens]:
        """One for each input, or one for each chunk. Raises InvalidInput."""
        if framing.chunking is not None:
            return self._chunks(inputs, framing, framing.chunking)
        found = []
        for start in range(0, len(inputs), SLICE):
            found += self._slice(inputs[start : start + SLICE], start, framing)
        return found

    def _slice(self, inputs: Sequence[Input], start: int, framing: Framing) -> list[Tokens]:
        """start: the place of the first in its request."""
        texts = dict.fromkeys(self._texts(inputs, framing.prompt))
        encodings: list[Encoding] = self._fast.encode_batch_fast(
            list(texts), add_special_tokens=False
        )
        # Each `ids` is a new list: that of a long query is not made for every document.
        read = {text: one.ids for text, one in zip(texts, encodings, strict=True)}
        return [self._one(given, index, read, framing) for index, given in enumerate(inputs, start)]

    def _texts(self, inputs: Sequence[Input], prompt: str) -> list[str]:
        """Each text that has to be read. The query of many pairs is read once."""
        found = []
        for given in inputs:
            if isinstance(given, Pair):
                found += [prompt + given.first, given.second]
            elif isinstance(given, str):
                found.append(prompt + given)
        return found

    def _one(
        self, given: Input, index: int, read: Mapping[str, list[int]], framing: Framing
    ) -> Tokens:
        if isinstance(given, Pair):
            first = read[framing.prompt + given.first]
            return self._joined(first, read[given.second], index, framing)
        if not isinstance(given, str):
            return self._framed(self._checked(given, index), index, framing, 0)
        ids = read[framing.prompt + given]
        return self._framed(ids, index, framing, len(framing.prompt))

    def _framed(self, ids: list[int], index: int, framing: Framing, prompt: int) -> Tokens:
        """ids: without special tokens. prompt: how many characters of the text are its prompt."""
        frame = self._frames[framing.side]
        if self._eos is not None and ids and ids[-1] == self._eos:
            ids = ids[:-1]
        limit = self._limit(framing.side)
        room = _room(limit, frame, framing.max_tokens)
        if len(ids) > room:
            side = self._cut(len(ids) + frame.size, room + frame.size, index, framing)
            kept = self._prompt_tokens(framing.prompt) if side == "left" and prompt else 0
            kept = min(kept, room)
            ids = [*ids[:kept], *part(ids[kept:], room - kept, side)]
        whole = [*frame.before, *ids, *frame.after]
        seen = None
        if framing.side == "query" and self._mask is not None and len(whole) < limit:
            seen = None if self._dress.attend_expansion else len(whole)
            whole += [self._mask] * (limit - len(whole))
        self.vocabulary.check_learnt(whole, index)
        left_out = 0
        if not self._include_prompt and prompt:
            left_out = len(frame.before) + self._prompt_tokens(framing.prompt)
        return Tokens(whole, None, seen, left_out)

    def _limit(self, side: Side | None) -> int:
        """How many tokens a text may have on this side."""
        dress = self._dress
        own = dress.query_tokens if side == "query" else dress.document_tokens
        return self._max_tokens if own is None else min(own, self._max_tokens)

    def _cut(self, tokens: int, limit: int, index: int, framing: Framing) -> Truncate:
        """Which end of an input that is too long goes. Raises InvalidInput where neither may."""
        side = framing.truncate or self._truncation
        if side == "refuse":
            asked = limit == framing.max_tokens
            read = f"at most {limit} are asked for" if asked else f"the model reads {limit}"
            problem = (
                f"input {index} has {tokens} tokens; {read}: shorten it, or ask for truncation"
            )
            raise InvalidInput("inputs", problem, "input_too_long")
        return side

    def _prompt_tokens(self, prompt: str) -> int:
        """As sentence-transformers counts them: the tokens of the prompt by itself."""
        return len(self._fast.encode(prompt, add_special_tokens=False).ids)

    def _joined(self, first: list[int], second: list[int], index: int, framing: Framing) -> Tokens:
        """The longer of the two is cut first, as by the `longest_first` of transformers."""
        most = framing.max_tokens
        if most is not None and len(second) > most:
            second = part(second, most, self._cut(len(second), most, index, framing))
        room = self._max_tokens - self._pair.size
        if len(first) + len(second) > room:
            tokens = len(first) + len(second) + self._pair.size
            side = self._cut(tokens, self._max_tokens, index, framing)
            lengths = longest_first(len(first), len(second), room)
            first, second = part(first, lengths[0], side), part(second, lengths[1], side)
        ids, begin = self._pair.join(first, second)
        self.vocabulary.check_learnt(ids, index)
        return Tokens(ids, begin)

    def _checked(self, given: Sequence[int], index: int) -> list[int]:
        """Ids as the client sent them, less the special tokens if they are there already."""
        return self._frames[None].bare(self.vocabulary.checked(given, index))

    def _chunks(
        self, inputs: Sequence[Input], framing: Framing, chunking: Chunking
    ) -> list[Tokens]:
        for index, given in enumerate(inputs):
            if not isinstance(given, str):
                problem = f"input {index} is no text; only texts are cut into chunks"
                raise InvalidInput("chunking", problem)
        room = self._limit(framing.side) - self._frames[framing.side].size
        found, allowance = [], Allowance(chunking)
        for index, text in enumerate(inputs):  # one by one: the first that is too much ends it
            encoding = self._fast.encode(f"{framing.prompt}{text}", add_special_tokens=False)
            windows = cut_into_windows(
                encoding.ids, encoding.offsets, len(framing.prompt), chunking, room, allowance
            )
            found += self._windows(windows, index, framing)
        return found

    def _windows(self, windows: Windows, index: int, framing: Framing) -> list[Tokens]:
        return [
            self._framed(
                [*windows.prompt, *window.ids], index, framing, len(framing.prompt)
            )._replace(chunk=Chunk(index, window.start, window.end))
            for window in windows.cuts
        ]

    def _marker(self, marker: str | None) -> list[int]:
        """One token if it is one, with or without its blanks; else the tokens of its text."""
        if not marker:
            return []
        known = self.ids([marker]) or self.ids([marker.strip()])
        return known or list(self._fast.encode(marker, add_special_tokens=False).ids)

    def _special(self, folder: Path, name: str, token: str | None) -> int:
        """The id of the token. Raises StartFailed."""
        found = self._fast.token_to_id(token) if token else None
        if found is None:
            problem = (
                f"the recipe needs the tokenizer's {name}, which {folder / TOKENIZER} does not tell"
            )
            raise StartFailed(Reason.INVALID_RECIPE, problem)
        return int(found)


def _room(limit: int, frame: Frame, asked: int | None) -> int:
    """For tokens of the text. Raises InvalidInput where `asked` leaves none."""
    if asked is None:
        return limit - frame.size
    if asked <= frame.size:
        problem = f"at most {asked} tokens are asked for, and special tokens alone are {frame.size}"
        raise InvalidInput("truncate", f"{problem}; ask for {frame.size + 1} or more")
    return min(limit, asked) - frame.size
