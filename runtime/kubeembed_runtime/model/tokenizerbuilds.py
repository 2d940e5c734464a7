"""Tokenizers made anew of a tokenizer.json's vocabulary, as the classes of transformers make them.

Normalizer and pre-tokenizer are the class's and follow tokenizer_config.json, whatever tokenizer.json has.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Fast
from tokenizers import normalizers as norms

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import TOKENIZER
from kubeembed_runtime.model.specialtokens import SpecialTokens

M = TypeVar("M", models.BPE, models.Unigram, models.WordPiece)

_BLANK = "▁"

#: Qwen's words, and those of 3.5, which keep accents with their letters.
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_3_5 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """stored: tokenizer.json as it is. told: tokenizer_config.json."""

    file: Path
    stored: Fast
    told: Mapping[str, Any]
    specials: SpecialTokens
    name: str

    def flag(self, key: str, usual: bool) -> bool:
        return bool(self.told.get(key, usual))

    def model(self, kind: type[M]) -> M:
        """The vocabulary, of the kind that the class reads. Raises StartFailed."""
        model = self.stored.model
        if isinstance(model, kind):
            return model
        problem = (
            f"{self.file} has a {type(model).__name__}, and {self.name} reads a {kind.__name__}"
        )
        way = f"write PreTrainedTokenizerFast in {TOKENIZER}, tokenizer_class, to take it as it is"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {way}")

    def scores(self) -> list[tuple[str, float]]:
        """The vocabulary of a Unigram, which the library does not hand out."""
        listed = json.loads(self.file.read_text(encoding="utf-8"))["model"]["vocab"]
        return [(token, score) for token, score in listed]

    def charsmap(self) -> norms.Normalizer | None:
        """SentencePiece's own normalization, where tokenizer.json has it."""
        usual: Any = self.stored.normalizer
        steps = [*usual] if isinstance(usual, norms.Sequence) else [usual]  # type: ignore[misc]
        return next((step for step in steps if isinstance(step, norms.Precompiled)), None)


def _made(model: Any, normalizer: Any, pre_tokenizer: Any) -> Fast:
    made = Fast(model)
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizer
    return made


def bert(given: Given) -> Fast:
    model = given.model(models.WordPiece)
    model.unk_token = given.specials.content("unk_token") or "None"
    model.continuing_subword_prefix, model.max_input_chars_per_word = "##", 100
    normalizer = norms.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=given.flag("tokenize_chinese_chars", True),
        strip_accents=given.told.get("strip_accents"),
        lowercase=given.flag("do_lower_case", True),
    )
    return _made(model, normalizer, pre_tokenizers.BertPreTokenizer())


def of_bytes(given: Given, *, qwen: str | None = None, nfc: bool = False) -> Fast:
    """qwen: how Qwen's words are told apart; None: as GPT-2's."""
    model = _bpe(given, fuse=False, fallback=False)
    blank = given.flag("add_prefix_space", False)
    normalizer = norms.NFC() if nfc else None
    if qwen is None:
        return _made(model, normalizer, pre_tokenizers.ByteLevel(add_prefix_space=blank))
    steps = [
        pre_tokenizers.Split(Regex(qwen), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=blank, use_regex=False),
    ]
    return _made(model, normalizer, pre_tokenizers.Sequence(steps))


def _bpe(given: Given, *, fuse: bool, fallback: bool, unk: str | None = None) -> models.BPE:
    model = given.model(models.BPE)
    model.dropout, model.unk_token = None, unk
    model.fuse_unk, model.byte_fallback, model.ignore_merges = fuse, fallback, False
    return model


def llama(given: Given) -> Fast:
    scheme = "always" if given.flag("legacy", False) else "first"
    if given.told.get("add_prefix_space") is False:
        scheme = "never"
    blanks = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme=scheme, split=False)
    return _made(_bpe(given, fuse=True, fallback=True), None, blanks)


def gemma(given: Given) -> Fast:
    model = _bpe(given, fuse=True, fallback=True, unk=given.specials.content("unk_token"))
    words = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    return _made(model, norms.Replace(" ", _BLANK), words)


def _unigram(given: Given, unknown: int) -> models.Unigram:
    """unknown: the id of what no token has a letter for; tokenizer.json mostly has the same."""
    model = given.model(models.Unigram)
    try:
        if [token.id for token in model.tokenize("\U0010fffd")] == [unknown]:
            return model
    except Exception:  # the library's own, where there is no unknown token at all
        pass
    return models.Unigram(given.scores(), unk_id=unknown, byte_fallback=False)


def _scored(given: Given, otherwise: int) -> int:
    """The place of the unknown token if its score is 0, as it is where SentencePiece wrote it."""
    wanted = (given.specials.content("unk_token"), 0.0)
    return next((i for i, token in enumerate(given.scores()) if token == wanted), otherwise)


def _words(given: Given, *, always: bool = False) -> pre_tokenizers.PreTokenizer:
    """Apart at white space, each with SentencePiece's blank before it."""
    scheme = "always" if always or given.flag("add_prefix_space", True) else "never"
    blanks = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme=scheme)
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), blanks])


def herbert(given: Given) -> Fast:
    model = _bpe(given, fuse=False, fallback=False, unk=given.specials.content("unk_token"))
    model.end_of_word_suffix = "</w>"
    normalizer = norms.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    return _made(model, normalizer, pre_tokenizers.BertPreTokenizer())


def xlm_roberta(given: Given) -> Fast:
    return _made(_unigram(given, 3), given.charsmap(), _words(given))


def camembert(given: Given) -> Fast:
    unknown = given.stored.model.token_to_id(given.specials.content("unk_token") or "None") or 0
    return _made(_unigram(given, unknown), given.charsmap(), _words(given))


def t5(given: Given) -> Fast:
    return _made(_unigram(given, 2), given.charsmap(), _words(given, always=True))


def albert(given: Given) -> Fast:
    steps: list[Any] = [norms.Replace("``", '"'), norms.Replace("''", '"')]
    if not given.flag("keep_accents", False):
        steps += [norms.NFKD(), norms.StripAccents()]
    if given.flag("do_lower_case", True):
        steps.append(norms.Lowercase())
    charsmap = given.charsmap()
    if charsmap is not None:
        steps.append(charsmap)
    return _made(_unigram(given, 1), norms.Sequence(steps), _words(given))


def big_bird(given: Given) -> Fast:
    blanks = norms.Replace(Regex(r" {2,}"), _BLANK)
    scheme = "always" if given.flag("add_prefix_space", True) else "never"
    words = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme=scheme, split=True)
    return _made(_unigram(given, _scored(given, 100)), blanks, words)


def deberta_v2(given: Given) -> Fast:
    steps: list[Any] = [norms.Lowercase()] if given.flag("do_lower_case", False) else []
    steps += [norms.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), norms.NFC()]
    steps.append(norms.Strip(left=False, right=True))
    scheme = "always" if given.flag("add_prefix_space", True) else "first"
    words: list[Any] = []
    if given.flag("split_by_punct", False):
        words.append(pre_tokenizers.Punctuation(behavior="isolated"))
    words.append(pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme=scheme))
    model = _unigram(given, _scored(given, int(given.told.get("unk_id", 1))))
    return _made(model, norms.Sequence(steps), pre_tokenizers.Sequence(words))
