"""What is read beside tokenizer.json, against transformers and sentence-transformers on the same folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Pair
from kubeembed_runtime.tokens import Framing

TEXTS = [
    "a title [SEP] a Body",
    "Fill the [MASK] here",
    "ΟΔΟΣ ΑΘΗΝΑΣ",
    "İstanbul",
    "Grüße aus KÖLN",
    "北京",
]
PROMPT = "Represent This [SEP] "

Folder = Callable[..., Path]


@pytest.fixture
def folder(minilm: Path, tmp_path: Path) -> Folder:
    """(what tokenizer_config.json has otherwise, files beside it) -> MiniLM so told."""

    def make(files: dict[str, Any] | None = None, **told: Any) -> Path:
        usual = json.loads((minilm / "tokenizer_config.json").read_text())
        changed = {**usual, **told}
        own = {"tokenizer_config.json": changed, **(files or {})}
        for file in minilm.iterdir():
            if file.name not in own:
                (tmp_path / file.name).symlink_to(file)
        for name, content in own.items():
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return make


def cased(folder: Path) -> None:
    """Its tokenizer.json leaves letters as they are."""
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text())
    whole["normalizer"] = None
    file.unlink()
    file.write_text(json.dumps(whole))


@pytest.mark.parametrize("plain", [False, True], ids=["of BERT", "that lowers nothing itself"])
def test_letters_are_lowered_as_sentence_transformers_does_it(plain: bool, folder: Folder) -> None:
    """Special tokens that a text names stay what they are, and a prompt is lowered with its text."""
    settings = {"max_seq_length": 64, "do_lower_case": True}
    other = {"tokenizer_class": "PreTrainedTokenizerFast"} if plain else {}
    made = folder({"sentence_bert_config.json": settings}, **other)
    if plain:
        cased(made)
    theirs = SentenceTransformer(str(made), device="cpu").tokenizer
    ours = Tokenizer(made, max_tokens=64, lower=True)
    for prompt in ("", PROMPT):
        wanted = [theirs(prompt + text)["input_ids"] for text in TEXTS]
        found = [list(one.ids) for one in ours(TEXTS, Framing(prompt=prompt))]
        assert found == wanted


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False},
        {"tokenize_chinese_chars": False},
        {"tokenizer_class": "DistilBertTokenizerFast", "do_lower_case": False},
        {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False},
    ],
    ids=str,
)
def test_the_normalizer_of_bert_is_what_its_configuration_says(
    told: dict[str, Any], folder: Folder
) -> None:
    made = folder(**told)
    theirs = AutoTokenizer.from_pretrained(made)
    found = [list(one.ids) for one in Tokenizer(made, max_tokens=64)(TEXTS)]
    assert found == [theirs(text)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize(
    ("told", "kinds"),
    [
        ({}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, False),
        ({"tokenizer_class": "DistilBertTokenizer"}, False),
        (
            {
                "tokenizer_class": "DistilBertTokenizer",
                "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            },
            True,
        ),
    ],
    ids=str,
)
def test_a_pair_has_token_types_where_its_tokenizer_gives_them(
    told: dict[str, Any], kinds: bool, folder: Folder
) -> None:
    made = folder(**told)
    theirs = AutoTokenizer.from_pretrained(made)("hello", "world")
    [ours] = Tokenizer(made, max_tokens=64)([Pair("hello", "world")])
    assert list(ours.ids) == theirs["input_ids"]
    assert ("token_type_ids" in theirs, ours.second is not None) == (kinds, kinds)
