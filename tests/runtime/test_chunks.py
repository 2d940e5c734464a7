"""How many windows a text is cut into, and that too many are refused before any is made."""

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.model import chunks
from kubeembed_runtime.model.chunks import MAX_TOKENS, Allowance, Windows, cut_into_windows
from kubeembed_runtime.requests import Chunking

#: A blank and a letter for each token.
WIDTH = 2


class Ids(Sequence[int]):
    """The ids of a text, of which it is counted how many were copied."""

    def __init__(self, count: int) -> None:
        self.count, self.copied = count, 0

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...

    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        found = range(self.count)[place]
        self.copied += 1 if isinstance(found, int) else len(found)
        return found


def offsets(tokens: int) -> list[tuple[int, int]]:
    return [(WIDTH * place, WIDTH * (place + 1)) for place in range(tokens)]


def cut(ids: Sequence[int], prompt: int, chunking: Chunking, room: int = 1000) -> Windows:
    """Of a text that is alone in its request. prompt: its tokens."""
    allowance = Allowance(chunking)
    return cut_into_windows(ids, offsets(len(ids)), WIDTH * prompt, chunking, room, allowance)


@pytest.mark.parametrize(
    ("tokens", "prompt", "chunking", "said"),
    [
        (
            100_000,
            0,
            Chunking(tokens=512, overlap=511),
            "chunks of 50938368 tokens or more, overlaps and prompts included; at most 524288:"
            " write a smaller overlap or larger chunks, or send less text",
        ),
        (100_400, 400, Chunking(tokens=10), "chunks of 4100000 tokens"),
        (MAX_TOKENS + 1, 0, Chunking(tokens=1), f"chunks of {MAX_TOKENS + 1} tokens"),
        (101, 0, Chunking(tokens=10, most=10), "11 chunks or more; at most 10"),
    ],
    ids=["overlap", "prompt", "small", "many"],
)
def test_too_many_windows_are_refused_before_any_is_made(
    tokens: int, prompt: int, chunking: Chunking, said: str
) -> None:
    ids = Ids(tokens)
    with pytest.raises(InvalidInput) as refused:
        cut(ids, prompt, chunking)
    assert refused.value.field == "chunking"
    assert said in str(refused.value)
    assert ids.copied == 0


def test_as_many_as_may_be_are_made() -> None:
    ids = Ids(MAX_TOKENS)
    found = cut(ids, 0, Chunking(tokens=512, most=1024))
    assert (len(found.cuts), ids.copied) == (1024, MAX_TOKENS)


def test_the_texts_of_a_request_are_counted_together() -> None:
    chunking = Chunking(tokens=2, most=5)
    allowance = Allowance(chunking)
    found = cut_into_windows(range(5), offsets(5), 0, chunking, 8, allowance)
    assert len(found.cuts) == 3
    ids = Ids(5)
    with pytest.raises(InvalidInput, match="6 chunks or more; at most 5"):
        cut_into_windows(ids, offsets(5), 0, chunking, 8, allowance)
    assert ids.copied == 0


@settings(deadline=None)  # other processes share the cores
@given(st.integers(0, 60), st.integers(0, 5), st.integers(1, 12), st.integers(0, 11))
def test_what_is_counted_before_is_what_there_is(
    tokens: int, prompt: int, size: int, overlap: int
) -> None:
    """One window or token less than there are is too few, and as many are enough."""
    chunking = Chunking(tokens=size, overlap=min(overlap, size - 1))

    def counted(most: int | None = None) -> tuple[int, int]:
        limited = replace(chunking, most=most)
        found = cut(range(prompt + tokens), prompt, limited, room=prompt + size)
        return len(found.cuts), sum(len(found.prompt) + len(one.ids) for one in found.cuts)

    with pytest.MonkeyPatch.context() as patch:
        windows, read = counted()
        patch.setattr(chunks, "MAX_TOKENS", read)
        assert counted(windows) == (windows, read)
        with pytest.raises(InvalidInput):
            counted(windows - 1)
        patch.setattr(chunks, "MAX_TOKENS", read - 1)
        with pytest.raises(InvalidInput):
            counted()
