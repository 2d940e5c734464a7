"""The special tokens of a folder, read from its files as transformers reads them.

tokenizer_config.json names them. Only where it lacks `added_tokens_decoder`, which releases since 4.34 write,
special_tokens_map.json counts as well, and before it. What no file names, the tokenizer's class may have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.tokenizerclasses import KNOWN, class_of

#: In the order in which those that no vocabulary has get ids.
NAMES = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip

#: The files of releases before 4.34.
MAP, ADDED = "special_tokens_map.json", "added_tokens.json"

#: Further special tokens, by the key of today and of earlier releases.
_EXTRA, _ADDITIONAL = "extra_special_tokens", "additional_special_tokens"

#: A token, or one with its flags by the names of tokenizers' AddedToken.
Token = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """tokenizer: the class they are of. named: name -> token; without a name there is no such token. extra:
    others; None if no file tells any.

    added: id -> token of the files. whole: those of tokenizer.json do not count beside them.
    """

    tokenizer: str
    named: Mapping[str, Token]
    extra: tuple[Token, ...] | None
    added: Mapping[int, Token]
    whole: bool

    @property
    def filler(self) -> str | None:
        """What fills up queries of a vector per token: the mask token, or a decoder's end of texts."""
        return self.content("mask_token") or self.content("eos_token")

    def content(self, name: str) -> str | None:
        """The token of this name, as it stands in texts."""
        return content(self.named[name]) if name in self.named else None


def content(token: Token) -> str:
    return token if isinstance(token, str) else str(token["content"])


def special_tokens(files: Files) -> SpecialTokens:
    """Raises StartFailed for a tokenizer whose class is not known here."""
    told = dict(files.tokenizer)
    if _ADDITIONAL in told and not told.get(_EXTRA):
        told[_EXTRA] = told.pop(_ADDITIONAL)
    own = _own(told)
    whole = "added_tokens_decoder" in told
    if not whole:
        told |= _of_map(files)
    tokenizer = class_of(files)
    listed = told[_EXTRA] if _EXTRA in told else told.get(_ADDITIONAL)
    named = {**KNOWN[tokenizer].specials, **{n: told[n] for n in NAMES if n in told}, **own}
    return SpecialTokens(
        tokenizer=tokenizer,
        named={name: named[name] for name in (*NAMES, *own) if named.get(name)},
        extra=tuple(listed) if isinstance(listed, list) else None,
        added=_added(told["added_tokens_decoder"]) if whole else _of_old(files, named),
        whole=whole,
    )


def _own(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tokens that the model's authors named themselves: by keys of their own, or in a mapping."""
    own = {
        name: token
        for name, token in told.items()
        if name.endswith("_token") and name not in NAMES and isinstance(token, str)
    }
    extra = told.get(_EXTRA)
    return {**own, **extra} if isinstance(extra, Mapping) else own


def _of_map(files: Files) -> Mapping[str, Any]:
    return {
        name: {**token, "special": True} if isinstance(token, Mapping) else token
        for name, token in files.read(MAP).items()
    }


def _added(decoder: Mapping[str, Token]) -> Mapping[int, Token]:
    return {int(key): token for key, token in decoder.items()}


def _of_old(files: Files, named: Mapping[str, Token]) -> Mapping[int, Token]:
    special = {content(token) for token in named.values() if token}
    return {
        int(key): {"content": word, "special": word in special, "normalized": word not in special}
        for word, key in files.read(ADDED).items()
    }
