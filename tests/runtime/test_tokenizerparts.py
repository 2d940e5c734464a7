"""Ids of small tokenizers of every class, against those of transformers' AutoTokenizer on the same folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Fast
from transformers import AutoTokenizer

import tokenizerkit
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import tokenizerfiles
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.specialtokens import NAMES, special_tokens
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Pair
from tokenizerkit import MAKERS, TEXTS

Told = Mapping[str, Any]

PIECES = (
    "AlbertTokenizer", "BigBirdTokenizer", "CamembertTokenizer", "DebertaV2Tokenizer", "LlamaTokenizer",
    "T5Tokenizer", "XLMRobertaTokenizer",
)  # fmt: skip
BYTES = (
    "DebertaTokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer", "Qwen2Tokenizer", "Qwen3_5Tokenizer",
    "RobertaTokenizer",
)  # fmt: skip
WORDS = ("BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "MPNetTokenizer")


def token(content: str, **flags: Any) -> dict[str, Any]:
    usual = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    return {"content": content, **usual, **flags}


def agree(folder: Path) -> None:
    """Each text, a pair of them and the special tokens are to transformers what they are to us."""
    theirs: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ours = Tokenizer(folder, max_tokens=4096)
    found = {text: list(one.ids) for text, one in zip(TEXTS, ours(TEXTS), strict=True)}
    assert found == {text: theirs(text)["input_ids"] for text in TEXTS}
    pair, [joined] = theirs("hello", "world you"), ours([Pair("hello", "world you")])
    kinds = pair.get("token_type_ids", [])
    begin = kinds.index(1) if 1 in kinds else None
    assert (list(joined.ids), joined.second) == (pair["input_ids"], begin)
    specials = special_tokens(Files(folder))
    assert [specials.content(name) for name in NAMES] == [getattr(theirs, name) for name in NAMES]


@pytest.mark.parametrize("named", ["plainly", "as Fast", "by the model type"])
@pytest.mark.parametrize("name", MAKERS)
def test_each_class_tokenizes_as_transformers_does(name: str, named: str, tmp_path: Path) -> None:
    told: dict[str, Any] = {"tokenizer_class": name}
    if named == "as Fast":
        told["tokenizer_class"] = name.removesuffix("Fast") + "Fast"
    if named == "by the model type":
        del told["tokenizer_class"]
    agree(tokenizerkit.write(tmp_path, name, {"tokenizer_config.json": told}))


#: What tokenizer_config.json may say of how texts are read.
SETTINGS: list[tuple[tuple[str, ...], Told]] = [
    ((*PIECES, *BYTES), {"add_prefix_space": True}),
    ((*PIECES, *BYTES), {"add_prefix_space": False}),
    (("AlbertTokenizer",), {"keep_accents": True, "do_lower_case": False}),
    (("AlbertTokenizer",), {"keep_accents": True}),
    (("DebertaV2Tokenizer",), {"do_lower_case": True, "split_by_punct": True}),
    (("DebertaV2Tokenizer",), {"split_by_punct": True, "unk_id": 3}),
    (("LlamaTokenizer",), {"legacy": True}),
    (("LlamaTokenizer",), {"legacy": False, "add_prefix_space": True}),
    (("LlamaTokenizer",), {"legacy": True, "add_prefix_space": False}),
    (WORDS, {"do_lower_case": False, "strip_accents": True}),
    (WORDS, {"strip_accents": False, "tokenize_chinese_chars": False}),
    (("RobertaTokenizer",), {"trim_offsets": False, "clean_up_tokenization_spaces": True}),
    (tuple(MAKERS), {"split_special_tokens": True}),
    (tuple(MAKERS), {"add_bos_token": True, "add_eos_token": True}),
    (tuple(MAKERS), {"add_bos_token": False, "add_eos_token": False}),
]


@pytest.mark.parametrize(
    ("name", "told"), [(name, told) for names, told in SETTINGS for name in names], ids=str
)
def test_settings_of_the_configuration_count_as_in_transformers(
    name: str, told: Told, tmp_path: Path
) -> None:
    agree(tokenizerkit.write(tmp_path, name, **told))


ADDED = {"special": False, "normalized": True}

#: What files may say of special and of added tokens.
SPECIALS: Mapping[str, tuple[Told, Told]] = {
    "another": ({"extra_special_tokens": ["EXTRA"]}, {}),
    "by the old key": ({"additional_special_tokens": ["EXTRA"]}, {}),
    "by a name": ({"extra_special_tokens": {"image_token": "EXTRA"}}, {}),
    "by a key of its own": ({"image_token": "EXTRA"}, {}),
    "blanks around": (
        {
            "added_tokens_decoder": {
                "9": token("hello", **ADDED),
                "400": token("EXTRA", special=True, lstrip=True, rstrip=True),
            }
        },
        {},
    ),
    "a whole word": (
        {"added_tokens_decoder": {"400": token("EXTRA", **ADDED, single_word=True)}},
        {},
    ),
    "a mask that takes blanks": (
        {"mask_token": "<mask>", "added_tokens_decoder": {"4": token("<mask>", lstrip=True)}},
        {},
    ),
    "no mask": ({"mask_token": None}, {}),
    "a mask with flags": (
        {"mask_token": {"__type": "AddedToken", **token("EXTRA", lstrip=True, normalized=True)}},
        {},
    ),
    "an end": ({"eos_token": "EXTRA"}, {}),
    "a map": ({}, {"special_tokens_map.json": {"mask_token": token("EXTRA", lstrip=True)}}),
    "a map that says otherwise": (
        {"mask_token": "hello"},
        {"special_tokens_map.json": {"mask_token": "EXTRA", "extra_special_tokens": ["world"]}},
    ),
    "a map that does not count": (
        {"added_tokens_decoder": {"1": token("<pad>", special=True)}},
        {"special_tokens_map.json": {"mask_token": "EXTRA"}},
    ),
    "the oldest file": ({}, {"added_tokens.json": {"EXTRA": 700, "xEX": 701}}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_special_tokens_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    for case, (told, files) in SPECIALS.items():
        folder = tmp_path / case
        folder.mkdir()
        agree(tokenizerkit.write(folder, name, files, **told))


@pytest.mark.parametrize("name", MAKERS)
def test_what_tokenizer_json_leaves_out_is_what_the_class_has(name: str, tmp_path: Path) -> None:
    """No normalizer, no post-processor, no added token; yet transformers frames texts by its classes."""
    folder = tokenizerkit.write(tmp_path, name, add_eos_token=True, add_bos_token=True)
    file = folder / "tokenizer.json"
    bare = {"normalizer": None, "post_processor": None, "added_tokens": []}
    file.write_text(json.dumps(json.loads(file.read_text()) | bare))
    agree(folder)


@pytest.mark.parametrize("name", [n for n in PIECES if n != "LlamaTokenizer"])
def test_an_unknown_token_elsewhere_is_moved_where_the_class_has_it(
    name: str, tmp_path: Path
) -> None:
    folder = tokenizerkit.write(tmp_path, name)
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text())
    stored["model"]["unk_id"] = 7
    file.write_text(json.dumps(stored))
    agree(folder)


def test_a_vocabulary_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = tokenizerkit.write(tmp_path, "RobertaTokenizer", tokenizer_class="XLMRobertaTokenizer")
    said = r"tokenizer\.json has a BPE, and XLMRobertaTokenizer reads a Unigram; write PreTrained"
    with pytest.raises(StartFailed, match=said) as refused:
        Tokenizer(folder, max_tokens=8)
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_a_class_without_the_tokens_that_frame_texts_is_refused(tmp_path: Path) -> None:
    folder = tokenizerkit.write(tmp_path, "BertTokenizer", cls_token=None)
    with pytest.raises(StartFailed, match=r"has no cls_token, which BertTokenizer puts around"):
        Tokenizer(folder, max_tokens=8)


@pytest.mark.parametrize("name", MAKERS)
def test_ends_of_tokenizer_json_count_where_the_class_has_none_of_its_own(
    name: str, tmp_path: Path
) -> None:
    folder = tokenizerkit.write(tmp_path, name, add_bos_token=True, add_eos_token=False)
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text())
    end = {"SpecialToken": {"id": stored["added_tokens"][0]["content"], "type_id": 0}}
    text, other = ({"Sequence": {"id": side, "type_id": 0}} for side in "AB")
    first = stored["added_tokens"][0]
    stored["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [text, end],
        "pair": [text, end, other, end],
        "special_tokens": {
            first["content"]: {
                "id": first["content"],
                "ids": [first["id"]],
                "tokens": [first["content"]],
            }
        },
    }
    file.write_text(json.dumps(stored))
    agree(folder)


def test_words_told_apart_by_another_rule_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizerfiles, "MANY_WORDS", 100)
    folder = tokenizerkit.write(tmp_path, "PreTrainedTokenizerFast", fix_mistral_regex=True)
    with pytest.raises(
        StartFailed, match=r"tokenizer_config\.json has fix_mistral_regex True"
    ) as no:
        Tokenizer(folder, max_tokens=8)
    assert no.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("Qwen2Tokenizer", {"model_type": "qwen3"}, 100),
        (
            "PreTrainedTokenizerFast",
            {"model_type": "mistral", "transformers_version": "5.1.0.dev0"},
            100,
        ),
        ("PreTrainedTokenizerFast", {"model_type": "mistral"}, 100_000),
    ],
    ids=["no Mistral", "a new one", "a small one"],
)
def test_the_word_for_another_rule_changes_nothing_of_other_tokenizers(
    name: str, config: Told, words: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizerfiles, "MANY_WORDS", words)
    files = {"config.json": config}
    agree(tokenizerkit.write(tmp_path, name, files, fix_mistral_regex=True))


@pytest.mark.parametrize("name", MAKERS)
def test_ids_become_texts_as_tokenizer_json_has_it(name: str, tmp_path: Path) -> None:
    folder = tokenizerkit.write(tmp_path, name)
    stored = Fast.from_file(str(folder / "tokenizer.json"))
    ids = [[*stored.encode(text).ids] for text in ("hello", "hello 12", "héllo unable")]
    found = Tokenizer(folder, max_tokens=64).vocabulary.decode(ids, skip_special=True)
    assert list(found) == stored.decode_batch(ids, skip_special_tokens=True)
    assert found[0].strip() == "hello"
