"""A folder's tokenizer.json, as transformers and sentence-transformers open it with the files beside it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Fast
from tokenizers.normalizers import Lowercase, Sequence

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import TOKENIZER, Files
from kubeembed_runtime.model.specialtokens import SpecialTokens, Token, content, special_tokens
from kubeembed_runtime.model.tokenizerbuilds import Given
from kubeembed_runtime.model.tokenizerclasses import KNOWN
from kubeembed_runtime.model.tokenizerparts import PARTS

KINDS = "token_type_ids"

#: Classes whose mask token takes the blank before it, where a file names no more than its letters.
_MASK_TAKES_BLANK = ("BigBirdTokenizer", "CamembertTokenizer", "MPNetTokenizer")

#: Model types whose words transformers tells apart anew if it is told to, in vocabularies of more words.
_MISTRALS = (None, "ministral", "mistral", "mistral3", "pixtral", "voxtral")
MANY_WORDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """kinds: does the model get token types of a pair?"""

    fast: Fast
    specials: SpecialTokens
    kinds: bool


def read_tokenizer(files: Files, *, lower: bool) -> Opened:
    """lower: texts are lower-cased as by sentence-transformers, which leaves special tokens alone.

    The padding and truncation stored in it are whatever its author's last call was, and are dropped. Raises
    StartFailed.
    """
    file = _file(files)
    specials, stored = special_tokens(files), Fast.from_file(str(file))
    _refuse_other_words(files, stored.get_vocab_size())
    name, parts = specials.tokenizer, PARTS[specials.tokenizer]
    given = Given(file=file, stored=stored, told=files.tokenizer, specials=specials, name=name)
    fast = stored if parts.build is None else _built(parts.build, given)
    fast.add_tokens(_tokens(name, stored, fast, specials))
    if parts.ends is not None and (parts.strict or stored.post_processor is None):
        fast.post_processor = parts.ends(given, fast)
    fast.encode_special_tokens = bool(files.tokenizer.get("split_special_tokens", False))
    fast.no_padding()
    fast.no_truncation()
    if lower:
        _lower(fast)
    return Opened(fast=fast, specials=specials, kinds=_gives_kinds(files, name))


def _file(files: Files) -> Path:
    file = files.folder / "tokenizer.json"
    if not file.exists():
        problem = f"{files.folder} has no tokenizer.json; publish the fast tokenizer with the model"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return file


def _built(build: Callable[[Given], Fast], given: Given) -> Fast:
    """With what tokenizer.json puts around texts, and how it makes texts of ids."""
    fast = build(given)
    if given.stored.post_processor is not None:
        fast.post_processor = given.stored.post_processor
    if given.stored.decoder is not None:
        fast.decoder = given.stored.decoder
    return fast


def _refuse_other_words(files: Files, words: int) -> None:
    """transformers then tells Mistral's words apart by another rule than tokenizer.json has. words: so many
    are in the vocabulary."""
    release = re.match(r"\d+", str(files.config.get("transformers_version")))
    old = release is None or int(release[0]) < 5
    concerned = old and files.config.get("model_type") in _MISTRALS and words > MANY_WORDS
    if concerned and files.tokenizer.get("fix_mistral_regex"):
        problem = f"{TOKENIZER} has fix_mistral_regex {files.tokenizer['fix_mistral_regex']}"
        way = "write the right pattern into tokenizer.json's pre_tokenizer and take the key away"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}, which is not done here; {way}")


def _gives_kinds(files: Files, name: str) -> bool:
    names = files.tokenizer.get("model_input_names")
    return KNOWN[name].kinds if names is None else KINDS in names


def _tokens(name: str, stored: Fast, fast: Fast, specials: SpecialTokens) -> list[AddedToken]:
    """All that transformers adds, in its order: those that no vocabulary has get ids by it."""
    added = {key: _flagged(token) for key, token in specials.added.items()}
    if not specials.whole:
        added |= stored.get_added_tokens_decoder()
    flags = {token.content: token for token in added.values()}
    there = {token.content for token in fast.get_added_tokens_decoder().values()} | set(flags)
    tokens = [added[key] for key in sorted(added)]
    for kind, token in specials.named.items():
        known = flags.get(content(token))
        if content(token) in there and known is None:
            continue
        if known is None:
            tokens.append(_special(name, kind, token))
        elif not known.special:
            known.special = True
    extra = PARTS[name].extra if specials.extra is None else specials.extra
    tokens += [_flagged(token) for token in extra if content(token) not in there]
    if name == "Qwen2Tokenizer":  # which adds them once more, by their letters alone
        every = [content(token) for token in (*specials.named.values(), *extra)]
        tokens += [AddedToken(token, special=True) for token in dict.fromkeys(every)]
    return tokens


def _special(name: str, kind: str, token: Token) -> AddedToken:
    """One that no added token has the letters of."""
    if isinstance(token, str) and kind == "mask_token" and name in _MASK_TAKES_BLANK:
        return AddedToken(token, lstrip=True, special=True)
    made = _flagged(token)
    made.special = True
    return made


def _flagged(token: Token) -> AddedToken:
    if isinstance(token, str):
        return AddedToken(token, special=True)
    return AddedToken(**{key: value for key, value in token.items() if key != "__type"})


def _lower(fast: Fast) -> None:
    usual: Any = fast.normalizer
    steps: list[Any] = [] if usual is None else [usual]
    if isinstance(usual, Sequence):
        steps = [*usual]  # type: ignore[misc]  # it can be iterated over, which its stubs do not tell
    if not any(isinstance(step, Lowercase) for step in steps):
        fast.normalizer = Sequence([Lowercase(), *steps])
