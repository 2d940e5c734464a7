"""What a tokenizer puts around the ids of a text or of two, found by trying: a post-processor hides it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer as Fast

from kubeembed_runtime.requests import Truncate

#: A text that every vocabulary has a token for.
_PROBE = "a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """before and after: special tokens around a text, a marker among them if the model has one."""

    before: Sequence[int]
    after: Sequence[int]
    marker: int = 0

    @classmethod
    def of(cls, fast: Fast, eos: int | None = None) -> "Frame":
        """eos: ends every text; not twice, where the tokenizer has put it there itself."""
        bare = fast.encode(_PROBE, add_special_tokens=False).ids
        full: list[int] = fast.encode(_PROBE).ids
        start = _place(bare, full)
        before, after = full[:start], full[start + len(bare) :]
        if eos is not None and after[-1:] != [eos]:
            after = [*after, eos]
        return cls(before=before, after=after)

    def marked(self, marker: Sequence[int]) -> "Frame":
        """With a marker before the text, as ColBERT has it."""
        return replace(self, before=[*self.before, *marker], marker=len(marker))

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)

    def bare(self, ids: list[int]) -> list[int]:
        """Without the special tokens, if it has them at both ends; a marker is none of those."""
        before = list(self.before[: len(self.before) - self.marker])
        after = list(self.after)
        if not len(ids) >= len(before) + len(after) > 0:
            return ids
        end = len(ids) - len(after)
        return (
            ids[len(before) : end] if ids[: len(before)] == before and ids[end:] == after else ids
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFrame:
    """kind: how many tokens after the second text's begin the second token type begins; None: never."""

    before: Sequence[int]
    between: Sequence[int]
    after: Sequence[int]
    kind: int | None

    @classmethod
    def of(cls, fast: Fast, *, kinds: bool) -> "PairFrame":
        """kinds: does the model get token types, if the tokenizer tells two?"""
        bare = fast.encode(_PROBE, add_special_tokens=False).ids
        both = fast.encode(_PROBE, _PROBE)
        full: list[int] = both.ids
        first = _place(bare, full)
        end = first + len(bare)
        second = end + _place(bare, full[end:])
        told: list[int] = both.type_ids if kinds else []
        return cls(
            before=full[:first],
            between=full[end:second],
            after=full[second + len(bare) :],
            kind=told.index(1) - second if 1 in told else None,
        )

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], int | None]:
        """The ids, and where the second token type begins."""
        head = [*self.before, *first, *self.between]
        begin = None if self.kind is None else len(head) + self.kind
        return [*head, *second, *self.after], begin


def _place(bare: list[int], full: list[int]) -> int:
    """Where `bare` lies in `full`."""
    return next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)


def part(ids: list[int], room: int, truncate: Truncate) -> list[int]:
    """So many of the ids; what goes is at the end that `truncate` names."""
    if truncate == "left":
        return ids[max(0, len(ids) - room) :] if room > 0 else []
    return ids[: max(0, room)]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How long two texts may be that are `room` long together, as the tokenizers library decides it."""
    short, long = sorted((first, second))
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (short, long) if first <= second else (long, short)
