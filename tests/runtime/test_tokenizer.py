from pathlib import Path

import pytest

from kubeembed_runtime.errors import InvalidInput, StartFailed
from kubeembed_runtime.model.tokenizer import Tokenizer

CLS, SEP, HELLO, WORLD = 101, 102, 7592, 2088


@pytest.fixture(scope="module")
def tokenizer(minilm: Path) -> Tokenizer:
    return Tokenizer(minilm, max_tokens=6)


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("hello world", [CLS, HELLO, WORLD, SEP]),
        ("hello " * 9, [CLS, HELLO, HELLO, HELLO, HELLO, SEP]),
        ("", [CLS, SEP]),
        (" \t\n", [CLS, SEP]),
        ([HELLO, WORLD], [CLS, HELLO, WORLD, SEP]),
        ([CLS, HELLO, SEP], [CLS, HELLO, SEP]),
        ([CLS, HELLO], [CLS, CLS, HELLO, SEP]),
        ([HELLO] * 9, [CLS, HELLO, HELLO, HELLO, HELLO, SEP]),
        ([CLS, *[HELLO] * 9, SEP], [CLS, HELLO, HELLO, HELLO, HELLO, SEP]),
        ([HELLO], [CLS, HELLO, SEP]),
    ],
    ids=[
        "text", "long text", "empty", "blank", "ids", "framed ids", "half framed ids", "long ids",
        "long framed ids", "one id",
    ],
)  # fmt: skip
def test_an_input_is_framed_and_cut(
    tokenizer: Tokenizer, given: str | list[int], ids: list[int]
) -> None:
    assert [list(found) for found in tokenizer([given])] == [ids]


def test_texts_and_ids_keep_their_places(tokenizer: Tokenizer) -> None:
    found = tokenizer(["hello", [WORLD], "world", [HELLO, HELLO]])
    assert [list(ids)[1:-1] for ids in found] == [[HELLO], [WORLD], [WORLD], [HELLO, HELLO]]


@pytest.mark.parametrize("wrong", [-1, 30522], ids=["negative", "over"])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer: Tokenizer, wrong: int) -> None:
    with pytest.raises(
        InvalidInput, match=f"input 1 has token id {wrong}; ids are between 0 and 30521"
    ):
        tokenizer([[HELLO], [WORLD, wrong]])


def test_a_prompt_stands_before_every_text_and_is_not_lowered(minilm: Path) -> None:
    prompted = Tokenizer(minilm, max_tokens=32, lower=True, prompt="Hello ")
    assert list(prompted(["WORLD"])[0]) == [CLS, HELLO, WORLD, SEP]


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"has no tokenizer\.json"):
        Tokenizer(tmp_path, max_tokens=8)
