"""The class that transformers opens a tokenizer with, against its own AutoTokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import CONFIG_MAPPING, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto import tokenization_auto

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.tokenizerclasses import KNOWN, OTHERS, REGISTERED, class_of
from kubeembed_runtime.model.tokenizerparts import PARTS

#: Types of which nobody asks vectors of texts: they need not be known.
TYPES = sorted(set(REGISTERED) & set(CONFIG_MAPPING))

REMOTE = {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}}


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """AutoTokenizer gives the class that it would open the tokenizer with."""

    def itself(cls: type, *_: Any, **__: Any) -> type:
        return cls

    monkeypatch.setattr(PreTrainedTokenizerBase, "from_pretrained", classmethod(itself))


def write(folder: Path, model_type: str | None, told: dict[str, Any], stored: str = "{}") -> Files:
    config = {} if model_type is None else {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "tokenizer.json").write_text(stored)
    return Files(folder)


def theirs(folder: Path) -> str:
    found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return str(found.__name__)


def ours(files: Files) -> str:
    try:
        return class_of(files)
    except StartFailed as refused:
        return str(refused).partition("opens the tokenizer with ")[2].partition(",")[0]


def test_a_type_has_the_class_that_transformers_registers() -> None:
    registered = tokenization_auto.TOKENIZER_MAPPING_NAMES
    same = {"MobileBertTokenizer": "BertTokenizer", "BartTokenizer": "RobertaTokenizer"}
    same |= {"LEDTokenizer": "RobertaTokenizer", "MvpTokenizer": "RobertaTokenizer"}
    same |= {"LxmertTokenizer": "BertTokenizer"}
    found = {name: registered[name] for name in REGISTERED}
    assert {n: same.get(c, c) for n, c in found.items()} == dict(REGISTERED)


def test_each_class_of_transformers_is_known_or_refused() -> None:
    """A new one must not be read as it is stored by chance."""
    names = {name for name in dir(transformers) if "Tokenizer" in name}
    names |= {name for name in tokenization_auto.TOKENIZER_MAPPING_NAMES.values() if name}
    for name in sorted(names):
        found = tokenization_auto.tokenizer_class_from_name(name)
        if not isinstance(found, type) or not issubclass(found, PreTrainedTokenizerBase):
            continue
        generic = ("TokenizersBackend", "PythonBackend", "SentencePieceBackend")
        if found.__name__ not in generic and found is not PreTrainedTokenizerBase:
            assert found.__name__ in KNOWN or found.__name__ in OTHERS, name
    assert set(KNOWN) == set(PARTS)
    assert not set(KNOWN) & OTHERS


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize(
    "named",
    [
        None, "BertTokenizer", "BertTokenizerFast", "XLMRobertaTokenizerFast", "LlamaTokenizer",
        "PreTrainedTokenizerFast", "TokenizersBackend", "Qwen2Tokenizer", "ElectraTokenizerFast",
        "PreTrainedTokenizer", "NoSuchTokenizer", "FNetTokenizer", "MobileBertTokenizer",
    ],
)  # fmt: skip
def test_a_folder_is_opened_with_the_class_that_transformers_takes(
    named: str | None, tmp_path: Path
) -> None:
    told = {} if named is None else {"tokenizer_class": named}
    for model_type in TYPES:
        files = write(tmp_path, model_type, told)
        assert ours(files) == theirs(tmp_path), model_type


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize("model_type", ["llama", "bert", "mistral", "qwen2", "idefics"])
def test_llamas_class_over_bytes_is_not_llamas(model_type: str, tmp_path: Path) -> None:
    files = write(
        tmp_path, model_type, {"tokenizer_class": "LlamaTokenizerFast"}, '{"type": "ByteLevel"}'
    )
    assert ours(files) == theirs(tmp_path)


@pytest.mark.usefixtures("chosen")
def test_config_json_may_name_the_class(tmp_path: Path) -> None:
    files = write(tmp_path, "bert", {})
    config = {"model_type": "bert", "tokenizer_class": "XLMRobertaTokenizer"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ours(Files(files.folder)) == theirs(tmp_path) == "XLMRobertaTokenizer"


@pytest.mark.usefixtures("chosen")
@pytest.mark.parametrize(
    ("model_type", "named"),
    [
        ("bert", "BertTokenizer"),
        ("bert", "OwnTokenizer"),
        ("qwen2", "Qwen2Tokenizer"),
        ("mistral", "LlamaTokenizer"),
    ],
)
def test_beside_code_of_its_own_the_class_of_that_name_is_taken(
    model_type: str, named: str, tmp_path: Path
) -> None:
    files = write(tmp_path, model_type, {"tokenizer_class": named, **REMOTE})
    assert ours(files) == theirs(tmp_path)


def test_code_of_its_own_alone_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path, "strange", {"tokenizer_class": "OwnTokenizer", **REMOTE})
    said = r"tokenizer_config\.json has OwnTokenizer in tokenizer_class, code that comes with"
    with pytest.raises(StartFailed, match=said) as refused:
        class_of(files)
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_a_class_that_is_not_known_is_refused_with_the_way_out(tmp_path: Path) -> None:
    files = write(tmp_path, "fnet", {"tokenizer_class": "FNetTokenizerFast"})
    said = r"opens the tokenizer with FNetTokenizer, .* write PreTrainedTokenizerFast in token"
    with pytest.raises(StartFailed, match=said):
        class_of(files)
    assert class_of(write(tmp_path, "fnet", {"tokenizer_class": "PreTrainedTokenizerFast"}))
