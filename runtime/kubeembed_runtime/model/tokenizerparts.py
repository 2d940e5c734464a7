"""What transformers' classes make of a tokenizer.json: how they build it, and what they put around texts.

The tests compare ids with transformers' own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as Fast
from tokenizers import processors

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model import tokenizerbuilds as builds
from kubeembed_runtime.model.files import TOKENIZER
from kubeembed_runtime.model.tokenizerbuilds import Given


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """build: a tokenizer without added tokens; None takes tokenizer.json's.

    ends: what stands around texts; None takes tokenizer.json's. strict: even where tokenizer.json has some.
    extra: special tokens where no file names any of a kind of their own.
    """

    build: Callable[[Given], Fast] | None
    ends: Callable[[Given, Fast], Any] | None = None
    strict: bool = True
    extra: tuple[str, ...] = ()


def _template(given: Given, made: Fast, single: str, pair: str) -> processors.TemplateProcessing:
    """`bos`, `eos`, `cls` and `sep` in the two stand for the tokens of these names."""
    used = {name for name in ("bos", "eos", "cls", "sep") if name in single}
    tokens = {name: _end(given, made, f"{name}_token") for name in sorted(used)}
    pieces = [[_piece(piece, tokens) for piece in text.split()] for text in (single, pair)]
    special = list(dict.fromkeys(tokens.values()))
    return processors.TemplateProcessing(single=pieces[0], pair=pieces[1], special_tokens=special)


def _end(given: Given, made: Fast, name: str) -> tuple[str, int]:
    """A token that stands around texts, and its id. Raises StartFailed."""
    token = given.specials.content(name)
    found = made.token_to_id(token) if token else None
    if token is None or found is None:
        problem = f"{given.file.parent / TOKENIZER} has no {name}, which {given.name} puts around"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem} texts; write it there")
    return token, found


def _piece(piece: str, tokens: Mapping[str, tuple[str, int]]) -> str:
    name, colon, kind = piece.partition(":")
    return f"{tokens[name][0] if name in tokens else name}{colon}{kind}"


def _ends_of_bert(given: Given, made: Fast) -> Any:
    return _template(given, made, "cls:0 $A:0 sep:0", "cls:0 $A:0 sep:0 $B:1 sep:1")


def _ends_of_xlm_roberta(given: Given, made: Fast) -> Any:
    return _template(given, made, "bos $A eos", "bos $A eos eos $B eos")


def _ends_of_deberta(given: Given, made: Fast) -> Any:
    return _template(given, made, "cls $A sep", "cls $A sep sep $B sep")


def _ends_of_t5(given: Given, made: Fast) -> Any:
    return _template(given, made, "$A eos", "$A eos $B eos")


def _ends_of_roberta(given: Given, made: Fast) -> Any:
    sep, cls = (_end(given, made, name) for name in ("sep_token", "cls_token"))
    return processors.RobertaProcessing(sep, cls)


def _ends_of_herbert(given: Given, made: Fast) -> Any:
    sep, cls = (given.specials.content(name) or "None" for name in ("sep_token", "cls_token"))
    return processors.BertProcessing(
        (sep, 2), (cls, 0)
    )  # by these ids, whatever the vocabulary has


def _no_ends(_: Given, __: Fast) -> Any:
    return processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])


#: By the names of tokenizerclasses.KNOWN; each is read off the class of that name.
PARTS: Mapping[str, Parts] = {
    "TokenizersBackend": Parts(build=None),
    "AlbertTokenizer": Parts(build=builds.albert, ends=_ends_of_bert, strict=False),
    "BertTokenizer": Parts(build=builds.bert, ends=_ends_of_bert),
    "BigBirdTokenizer": Parts(build=builds.big_bird, ends=_ends_of_bert),
    "CamembertTokenizer": Parts(
        build=builds.camembert,
        ends=_ends_of_xlm_roberta,
        extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "ConvBertTokenizer": Parts(build=None, ends=_ends_of_bert),
    "DebertaTokenizer": Parts(build=builds.of_bytes, ends=_ends_of_deberta),
    "DebertaV2Tokenizer": Parts(build=builds.deberta_v2, ends=_ends_of_bert),
    "DistilBertTokenizer": Parts(build=builds.bert, ends=_ends_of_bert),
    "GPT2Tokenizer": Parts(build=builds.of_bytes),
    "GPTNeoXTokenizer": Parts(build=lambda given: builds.of_bytes(given, nfc=True), ends=_no_ends),
    "GemmaTokenizer": Parts(build=builds.gemma),
    "HerbertTokenizer": Parts(build=builds.herbert, ends=_ends_of_herbert),
    "LlamaTokenizer": Parts(build=builds.llama),
    "MPNetTokenizer": Parts(build=builds.bert, ends=_ends_of_roberta),
    "Qwen2Tokenizer": Parts(build=lambda given: builds.of_bytes(given, qwen=builds.QWEN, nfc=True)),
    "Qwen3_5Tokenizer": Parts(
        build=lambda given: builds.of_bytes(given, qwen=builds.QWEN_3_5, nfc=True)
    ),
    "RobertaTokenizer": Parts(build=builds.of_bytes, ends=_ends_of_roberta),
    "T5Tokenizer": Parts(
        build=builds.t5,
        ends=_ends_of_t5,
        extra=tuple(f"<extra_id_{place}>" for place in range(100)),
    ),
    "XLMRobertaTokenizer": Parts(build=builds.xlm_roberta, ends=_ends_of_xlm_roberta),
}
