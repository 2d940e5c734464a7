import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import models, pre_tokenizers, processors

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import InvalidInput, StartFailed
from kubeembed_runtime.model.recipes import MultivectorRecipe
from kubeembed_runtime.model.tokenizer import SLICE, Tokenizer
from kubeembed_runtime.requests import Chunk, Chunking, Pair, Truncate
from kubeembed_runtime.tokens import Framing, Tokens

CLS, SEP, MASK, HELLO, WORLD = 101, 102, 103, 7592, 2088


@pytest.fixture(scope="module")
def tokenizer(minilm: Path) -> Tokenizer:
    return Tokenizer(minilm, max_tokens=6)


@pytest.fixture(scope="module")
def long(minilm: Path) -> Tokenizer:
    return Tokenizer(minilm, max_tokens=64)


def bare(tokens: Tokens) -> list[int]:
    return list(tokens.ids)


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
    assert tokenizer([given]) == [Tokens(ids)]


def test_texts_and_ids_keep_their_places(tokenizer: Tokenizer) -> None:
    found = tokenizer(["hello", [WORLD], "world", [HELLO, HELLO], "hello"])
    assert [one.ids[1:-1] for one in found] == [[HELLO], [WORLD], [WORLD], [HELLO, HELLO], [HELLO]]


@pytest.mark.parametrize("wrong", [-1, 30522], ids=["negative", "over"])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer: Tokenizer, wrong: int) -> None:
    with pytest.raises(
        InvalidInput, match=f"input 1 has token id {wrong}; ids are between 0 and 30521"
    ):
        tokenizer([[HELLO], [WORLD, wrong]])


@pytest.mark.parametrize("asked", ["heaven", Pair("a", "heaven"), [104, 3402]], ids=str)
def test_a_token_that_the_model_never_learnt_is_refused(minilm: Path, asked: Any) -> None:
    """Its embedding would be read past the table's end, and fail the batch of everybody."""
    made = Tokenizer(minilm, max_tokens=256)
    highest = max(max(tokens.ids) for tokens in made([asked]))
    made.vocabulary.limit(highest + 1)
    made([asked])
    made.vocabulary.limit(highest)
    with pytest.raises(
        InvalidInput, match=r"input 1 has the token '.*', of which the model has no"
    ):
        made(["a", asked])


def test_a_prompt_stands_before_every_text(minilm: Path) -> None:
    """No braces mean anything in either."""
    prompted = Tokenizer(minilm, max_tokens=32, lower=True)
    found = prompted(["WORLD", "{text} {0} {"], Framing(prompt="Hello "))
    assert bare(found[0]) == [CLS, HELLO, WORLD, SEP]
    assert bare(found[1]) == bare(prompted(["hello {text} {0} {"])[0])


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"has no tokenizer\.json"):
        Tokenizer(tmp_path, max_tokens=8)


@pytest.mark.parametrize(
    ("truncate", "prompt", "ids"),
    [
        ("right", "", [1, 2, 3, 4]),
        ("left", "", [6, 7, 8, 9]),
        ("left", "hello ", [HELLO, 7, 8, 9]),
        ("right", "hello ", [HELLO, 1, 2, 3]),
    ],
    ids=["right", "left", "left keeps the prompt", "right with a prompt"],
)
def test_a_long_text_is_cut_at_the_wanted_end(
    tokenizer: Tokenizer, truncate: Truncate, prompt: str, ids: list[int]
) -> None:
    text = "2 3 4 5 6 7 8 9 10"
    numbers = {n: bare(tokenizer([str(n + 1)])[0])[1] for n in range(1, 10)}
    found = tokenizer([text], Framing(prompt=prompt, truncate=truncate))
    assert bare(found[0])[1:-1] == [i if i == HELLO else numbers[i] for i in ids]


def test_many_inputs_are_read_in_slices_and_keep_their_places(tokenizer: Tokenizer) -> None:
    texts = ["hello " * (1 + place % 3) for place in range(2 * SLICE + 1)]
    assert tokenizer(texts) == [tokenizer([text])[0] for text in texts]
    texts[SLICE + 5] = "hello " * 9
    with pytest.raises(InvalidInput, match=f"input {SLICE + 5} has 11 tokens"):
        tokenizer(texts, Framing(truncate="refuse"))


def test_a_long_text_is_refused_where_it_may_not_be_cut(minilm: Path) -> None:
    said = "input 1 has 9 tokens; the model reads 6: shorten it, or ask for truncation"
    strict = Tokenizer(minilm, max_tokens=6, truncation="refuse")
    with pytest.raises(InvalidInput, match=said):
        strict(["hello", "hello " * 7])
    with pytest.raises(InvalidInput, match=said):
        strict(["hello", [HELLO] * 7])
    assert len(strict(["hello " * 7], Framing(truncate="right"))[0].ids) == 6


def test_a_request_may_ask_for_fewer_tokens_than_the_model_reads(tokenizer: Tokenizer) -> None:
    few = Framing(max_tokens=4)
    assert bare(tokenizer(["hello " * 9], few)[0]) == [CLS, HELLO, HELLO, SEP]
    assert len(tokenizer(["hello " * 9], Framing(max_tokens=512))[0].ids) == 6
    left = Framing(prompt="hello ", truncate="left", max_tokens=4)
    assert bare(tokenizer(["hello hello world"], left)[0]) == [CLS, HELLO, WORLD, SEP]
    prompted = Framing(prompt="hello hello hello ", truncate="left", max_tokens=4)
    assert bare(tokenizer(["world"], prompted)[0]) == [CLS, HELLO, HELLO, SEP]
    with pytest.raises(InvalidInput, match="input 0 has 5 tokens; at most 4 are asked for"):
        tokenizer(["hello " * 3], few._replace(truncate="refuse"))
    with pytest.raises(InvalidInput, match="special tokens alone are 2; ask for 3 or more"):
        tokenizer(["hello"], Framing(max_tokens=2))


def test_the_second_text_of_a_pair_alone_may_be_bounded(tokenizer: Tokenizer) -> None:
    pair = Pair("hello hello", "world hello world")
    found = tokenizer([pair], Framing(max_tokens=1))[0]
    assert bare(found) == [CLS, HELLO, HELLO, SEP, WORLD, SEP]
    with pytest.raises(InvalidInput, match="input 0 has 3 tokens; at most 1 are asked for"):
        tokenizer([pair], Framing(max_tokens=1, truncate="refuse"))


@pytest.fixture(scope="module")
def reference(minilm: Path) -> Fast:
    fast = Fast.from_file(str(minilm / "tokenizer.json"))
    fast.no_padding()
    return fast


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 24), second=st.integers(0, 24), most=st.sampled_from([4, 9, 16]))
def test_a_pair_is_cut_as_transformers_cuts_it(
    minilm: Path, reference: Fast, first: int, second: int, most: int
) -> None:
    """Longest first, to the token; and the second token type begins where the second text does."""
    one, two = "hello " * first, "world " * second
    reference.enable_truncation(most, strategy="longest_first")
    expected = reference.encode(one, two)
    found = made(minilm, most)([Pair(one, two)])[0]
    assert bare(found) == expected.ids
    kinds = [int(place >= (found.second or 0)) for place in range(len(found.ids))]
    assert kinds == expected.type_ids


@cache
def made(folder: Path, most: int) -> Tokenizer:
    return Tokenizer(folder, max_tokens=most)


def test_a_pair_can_be_refused_and_cut_at_the_left(tokenizer: Tokenizer) -> None:
    pair = Pair("hello world", "world hello world")
    left = tokenizer([pair], Framing(truncate="left"))[0]
    assert bare(left) == [CLS, WORLD, SEP, HELLO, WORLD, SEP]
    with pytest.raises(InvalidInput, match="input 0 has 8 tokens; the model reads 6"):
        tokenizer([pair], Framing(truncate="refuse"))


WORDS = ["<s>", "</s>", "<unk>", "[MASK]", "[Q] ", "[unused1]", ".", "one", "two", "three", "four"]
ID = {word: place for place, word in enumerate(WORDS)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of whole words that writes `<s>` before a text, as a decoder's does."""
    fast = Fast(models.WordLevel(ID, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast.save(str(tmp_path / "tokenizer.json"))
    told: dict[str, Any] = {"eos_token": "</s>", "mask_token": {"content": "[MASK]"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    return tmp_path


def words(tokens: Tokens) -> list[str]:
    return [WORDS[token] for token in tokens.ids]


def test_an_end_of_sequence_is_appended_once(folder: Path) -> None:
    ending = Tokenizer(folder, max_tokens=4, append_eos=True)
    found = ending(["one", "one two three", [ID["one"], ID["</s>"]], [ID["two"]]])
    assert [words(one) for one in found] == [
        ["<s>", "one", "</s>"],
        ["<s>", "one", "two", "</s>"],
        ["<s>", "one", "</s>"],
        ["<s>", "two", "</s>"],
    ]


def test_a_tokenizer_that_ends_its_texts_itself_gets_no_second_end(minilm: Path) -> None:
    told = Tokenizer(minilm, max_tokens=8)
    assert bare(told(["hello"])[0]) == [CLS, HELLO, SEP]


def test_an_end_that_the_tokenizer_does_not_tell_is_asked_for(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(StartFailed, match="needs the tokenizer's eos_token") as refused:
        Tokenizer(folder, max_tokens=8, append_eos=True)
    assert refused.value.reason is Reason.INVALID_RECIPE


COLBERT = MultivectorRecipe(
    dimensions=4,
    query_tokens=7,
    document_tokens=5,
    expand=True,
    query_marker="[Q] ",
    document_marker="[unused1]",
)


def test_queries_are_marked_and_filled_up_with_masks(folder: Path) -> None:
    late = Tokenizer(folder, max_tokens=8, append_eos=True, multivector=COLBERT)
    query = late(["one two"], Framing(side="query"))[0]
    assert words(query) == ["<s>", "[Q] ", "one", "two", "</s>", "[MASK]", "[MASK]"]
    assert query.attended == 5
    full = late(["one two three four one"], Framing(side="query"))[0]
    assert words(full) == ["<s>", "[Q] ", "one", "two", "three", "four", "</s>"]
    assert full.attended is None


def test_without_a_mask_token_queries_are_filled_up_with_ends(folder: Path) -> None:
    """As PyLate and sentence-transformers do it with decoders."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    late = Tokenizer(folder, max_tokens=8, multivector=COLBERT)
    [query] = late(["one"], Framing(side="query"))
    assert words(query) == ["<s>", "[Q] ", "one", "</s>", "</s>", "</s>", "</s>"]
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(StartFailed, match="needs the tokenizer's mask_token"):
        Tokenizer(folder, max_tokens=8, multivector=COLBERT)


def test_a_mask_that_the_model_never_learnt_is_refused(folder: Path) -> None:
    dressed = MultivectorRecipe(dimensions=4, query_tokens=4, expand=True)
    late = Tokenizer(folder, max_tokens=8, multivector=dressed)
    late.vocabulary.limit(ID["[MASK]"])
    with pytest.raises(InvalidInput, match=r"has the token '\[MASK\]', of which the model"):
        late([""], Framing(side="query"))


@pytest.mark.parametrize("side", ["document", None])
def test_documents_are_marked_and_cut(folder: Path, side: Any) -> None:
    """A text that names no side is a document."""
    late = Tokenizer(folder, max_tokens=8, append_eos=True, multivector=COLBERT)
    document = late(["one two three four"], Framing(side=side))[0]
    assert words(document) == ["<s>", "[unused1]", "one", "two", "</s>"]
    assert document.attended is None


def test_masks_that_are_attended_to_are_ordinary_tokens(folder: Path) -> None:
    dressed = MultivectorRecipe(
        dimensions=4, query_tokens=4, expand=True, attend_expansion=True, query_marker="one"
    )
    late = Tokenizer(folder, max_tokens=8, multivector=dressed)
    query = late(["two"], Framing(side="query"))[0]
    assert (words(query), query.attended) == (["<s>", "one", "two", "[MASK]"], None)


def test_names_of_tokens_become_ids_and_unknown_ones_none(folder: Path) -> None:
    assert Tokenizer(folder, max_tokens=8).ids([".", "!", "<s>"]) == [ID["."], ID["<s>"]]


def test_the_prompt_is_counted_where_the_mean_leaves_it_out(folder: Path) -> None:
    told = Tokenizer(folder, max_tokens=8, include_prompt=False)
    assert told(["three"], Framing(prompt="one two "))[0].prompt == 3
    assert told(["three"])[0].prompt == 0
    assert Tokenizer(folder, max_tokens=8)(["three"], Framing(prompt="one "))[0].prompt == 0


TEXT = "ö hello wörld, 你 hello brave\n new  Wörld! É"


def chunks(
    tokenizer: Tokenizer, texts: Sequence[str], tokens: int, overlap: int, prompt: str = ""
) -> list[Tokens]:
    chunking = Chunking(tokens=tokens, overlap=overlap)
    return tokenizer(texts, Framing(prompt=prompt, chunking=chunking))


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.sampled_from("ab ÄéßİŁ你\n,.é"), max_size=60),
    tokens=st.integers(1, 9),
    overlap=st.integers(0, 8),
)
def test_chunks_cover_a_text_and_say_where_they_are(
    minilm: Path, text: str, tokens: int, overlap: int
) -> None:
    long = made(minilm, 64)
    overlap = min(overlap, tokens - 1)
    found = chunks(long, [text], tokens, overlap)
    whole = list(long([text])[0].ids[1:-1])
    parts = [list(one.ids[1:-1]) for one in found]
    assert all(len(part) == tokens for part in parts[:-1])
    rejoined = parts[0] + [token for part in parts[1:] for token in part[overlap:]]
    assert rejoined[: len(whole)] == whole
    spans = [one.chunk for one in found if one.chunk is not None]
    assert all(0 <= span.start <= span.end <= len(text) for span in spans)
    assert [span.start for span in spans] == sorted(span.start for span in spans)


def test_a_chunk_is_the_text_at_its_span(long: Tokenizer) -> None:
    found = chunks(long, ["hello", TEXT], tokens=5, overlap=2)
    assert found[0].chunk == Chunk(0, 0, 5)
    for one in found[1:]:
        assert one.chunk is not None
        text = TEXT[one.chunk.start : one.chunk.end]
        assert one.chunk.input == 1
        assert bare(long([text])[0]) == bare(one), text


def test_each_chunk_has_the_prompt_and_the_special_tokens(long: Tokenizer) -> None:
    found = chunks(long, ["world " * 5], tokens=2, overlap=0, prompt="hello ")
    assert [bare(one) for one in found] == [
        [CLS, HELLO, WORLD, WORLD, SEP],
        [CLS, HELLO, WORLD, WORLD, SEP],
        [CLS, HELLO, WORLD, SEP],
    ]
    assert [one.chunk for one in found] == [Chunk(0, 0, 11), Chunk(0, 12, 23), Chunk(0, 24, 29)]


def test_spans_are_those_of_the_text_and_not_of_its_lower_letters(minilm: Path) -> None:
    lower = Tokenizer(minilm, max_tokens=64, lower=True)
    text = "İİİ HELLO"  # the small letter of the first is two characters
    assert chunks(lower, [text], tokens=64 - 2, overlap=0)[0].chunk == Chunk(0, 0, len(text))


@pytest.mark.parametrize(
    ("inputs", "tokens", "overlap", "said"),
    [
        ([[HELLO]], 4, 0, "input 0 is no text"),
        (["a", Pair("a", "b")], 4, 0, "input 1 is no text"),
        (["a"], 5, 0, "chunks of 5 tokens; between 1 and 4 fit into the model"),
        (["a"], 0, 0, "chunks of 0 tokens; between 1 and 4"),
        (["a"], 4, 4, "overlap by 4; write an overlap from 0 to 3"),
        (["a"], 4, -1, "overlap by -1"),
    ],
    ids=["ids", "pair", "too long", "nothing", "no step", "gap"],
)
def test_chunks_that_cannot_be_are_refused(
    tokenizer: Tokenizer, inputs: Any, tokens: int, overlap: int, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        chunks(tokenizer, inputs, tokens, overlap)
    assert refused.value.field == "chunking"


def test_a_prompt_takes_its_room_from_the_chunks(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInput, match="between 1 and 3 fit"):
        chunks(tokenizer, ["a"], 4, 0, prompt="hello ")
