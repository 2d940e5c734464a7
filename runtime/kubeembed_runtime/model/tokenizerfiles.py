"""A folder's tokenizer.json, as transformers and sentence-transformers open it with the files beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Fast
from tokenizers.normalizers import BertNormalizer, Lowercase, Sequence

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

#: Classes whose normalizer transformers makes anew of tokenizer_config.json, whatever tokenizer.json has.
_OF_BERT = ("BertTokenizer", "DistilBertTokenizer", "ConvBertTokenizer", "MPNetTokenizer")

#: Those that give no token types, where tokenizer_config.json does not say what they give.
_WITHOUT_KINDS = ("DistilBertTokenizer", "MPNetTokenizer")

KINDS = "token_type_ids"


def read_tokenizer(folder: Path, told: Mapping[str, Any], *, lower: bool) -> Fast:
    """told: what tokenizer_config.json has. lower: texts are lower-cased as by sentence-transformers, which
    leaves special tokens alone.

    The padding and truncation stored in it are whatever its author's last call was, and are dropped. Raises
    StartFailed.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        problem = f"{folder} has no tokenizer.json; publish the fast tokenizer with the model"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    fast: Fast = Fast.from_file(str(file))
    fast.no_padding()
    fast.no_truncation()
    if _class(told) in _OF_BERT and isinstance(fast.normalizer, BertNormalizer):
        fast.normalizer = _normalizer_of_bert(told)
    if lower:
        _lower(fast)
    return fast


def gives_kinds(told: Mapping[str, Any]) -> bool:
    """Does the model get token types of a pair? told: as for `read_tokenizer`."""
    names = told.get("model_input_names")
    return _class(told) not in _WITHOUT_KINDS if names is None else KINDS in names


def _class(told: Mapping[str, Any]) -> str:
    return str(told.get("tokenizer_class", "")).removesuffix("Fast")


def _normalizer_of_bert(told: Mapping[str, Any]) -> BertNormalizer:
    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=told.get("tokenize_chinese_chars", True),
        strip_accents=told.get("strip_accents"),
        lowercase=told.get("do_lower_case", True),
    )


def _lower(fast: Fast) -> None:
    usual: Any = fast.normalizer
    steps: list[Any] = [] if usual is None else [usual]
    if isinstance(usual, Sequence):
        steps = [*usual]  # type: ignore[misc]  # it can be iterated over, which its stubs do not tell
    if not any(isinstance(step, Lowercase) for step in steps):
        fast.normalizer = Sequence([Lowercase(), *steps])
