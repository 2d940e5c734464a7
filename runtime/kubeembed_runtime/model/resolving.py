"""How a model turns texts into vectors: read from its own files, overridden by the document, never guessed.

The wrong pooling or prompt ruins retrieval without any error. So every value says where it comes from, and
what no file tells has to stand in the document.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.document import Recipe as Wanted
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.limits import Limits, limits, read_config
from kubeembed_runtime.model.recipes import Pooling, Recipe, Told

#: What sentence-transformers' modules are called, by the last part of their class name.
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")

#: Old pooling configurations have one flag per mode; new ones name the mode.
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_POOLINGS: Mapping[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "lastToken"}

#: The file beside the weights was named after the architecture in the library's first years.
_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

#: Tokenisers without a limit say 10^30, which is no limit either.
_NO_LIMIT = 10_000_000


def resolve(folder: Path, model: EmbeddingModel) -> Recipe:
    """The recipe of the model in `folder`. Raises StartFailed: InvalidRecipe or UnsupportedModel."""
    files, wanted, allowed = _Files(folder), model.spec.recipe, limits(read_config(folder))
    _refuse_other_outputs(wanted, files)
    prompts = _prompts(wanted, files)
    return Recipe(
        outputs=Told(value=("dense",), origin="modules.json"),
        pooling=_pooling(wanted, files),
        normalize=_normalize(wanted, files),
        max_tokens=_max_tokens(wanted, files, allowed),
        dimensions=_dimensions(wanted, allowed),
        lower=_lower(files),
        truncation=Told(value="right", origin="tokenizer_config.json"),
        prompts=prompts,
        default_prompt=_default_prompt(files, prompts),
        query_prompt=Told(value="", origin="config_sentence_transformers.json"),
        document_prompt=Told(value="", origin="config_sentence_transformers.json"),
        instruction=Told(value=None, origin="config_sentence_transformers.json"),
        default_instruction=Told(value=None, origin="config_sentence_transformers.json"),
        include_prompt=Told(value=True, origin="modules.json"),
        causal=Told(value=False, origin="config.json"),
        append_eos=Told(value=False, origin="tokenizer_config.json"),
        projections=Told(value=(), origin="modules.json"),
        sparse=Told(value=None, origin="modules.json"),
        multivector=Told(value=None, origin="modules.json"),
        score=Told(value=None, origin="modules.json"),
    )


class _Files:
    """The files that sentence-transformers leaves beside the weights, as far as they exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[Mapping[str, Any]] | None = self.read("modules.json")
        self.settings: Mapping[str, Any] = self.read("config_sentence_transformers.json") or {}
        self.transformer_file = next(
            (name for name in _TRANSFORMER_FILES if (folder / name).exists()), _TRANSFORMER_FILES[0]
        )
        self.transformer: Mapping[str, Any] = self.read(self.transformer_file) or {}
        self.tokenizer: Mapping[str, Any] = self.read("tokenizer_config.json") or {}
        for module in self.modules or ():
            if kind(module) not in KNOWN_MODULES:
                problem = f"modules.json has a {kind(module)} module ({module['type']})"
                known = ", ".join(KNOWN_MODULES)
                raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; supported: {known}")

    def read(self, name: str) -> Any:
        """Raises StartFailed for what is no JSON; None where there is no such file."""
        path = self.folder / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            problem = f"{path} is not JSON: {error}"
            raise StartFailed(Reason.NO_USABLE_FILES, problem) from error

    def module(self, name: str) -> Mapping[str, Any] | None:
        return next((module for module in self.modules or () if kind(module) == name), None)


def kind(module: Mapping[str, Any]) -> str:
    """The class name of a module, whatever package its release had it in."""
    return str(module["type"]).rpartition(".")[2]


def _missing(what: str, field: str, choices: str) -> StartFailed:
    problem = f"the model's files do not tell its {what}; set spec.recipe.{field} ({choices})"
    return StartFailed(Reason.INVALID_RECIPE, f"{problem} as the model's card says")


def _refuse_other_outputs(wanted: Wanted, files: _Files) -> None:
    if wanted.outputs not in (None, ("dense",)):
        problem = f"spec.recipe.outputs is {list(wanted.outputs)}; write [dense]"
        raise StartFailed(Reason.NOT_SUPPORTED_YET, problem)
    model_type = files.settings.get("model_type", "SentenceTransformer")
    if model_type != "SentenceTransformer":
        problem = (
            f"config_sentence_transformers.json says {model_type}; supported: SentenceTransformer"
        )
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)


def _pooling(wanted: Wanted, files: _Files) -> Told[Pooling]:
    if wanted.pooling is not None:
        return Told(value=wanted.pooling, origin="spec.recipe.pooling")
    module = files.module("Pooling")
    if module is None:
        raise _missing("pooling", "pooling", ", ".join(get_args(Pooling)))
    name = f"{module['path']}/config.json"
    config = files.read(name)
    if config is None:
        raise _missing("pooling", "pooling", ", ".join(get_args(Pooling)))
    modes = _modes(config)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        problem = (
            f"{name} pools by {' + '.join(modes) or 'nothing'}; supported: {', '.join(_POOLINGS)}"
        )
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    if not config.get("include_prompt", True):
        problem = f"{name} leaves the prompt out of the pooling (include_prompt: false)"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return Told(value=_POOLINGS[modes[0]], origin=name)


def _modes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    return [mode for flag, mode in _OLD_POOLINGS.items() if config.get(flag)]


def _normalize(wanted: Wanted, files: _Files) -> Told[bool]:
    if wanted.normalize is not None:
        return Told(value=wanted.normalize, origin="spec.recipe.normalize")
    if files.modules is None:
        raise _missing("normalisation", "normalize", "true or false")
    return Told(value=files.module("Normalize") is not None, origin="modules.json")


def _max_tokens(wanted: Wanted, files: _Files, allowed: Limits) -> Told[int]:
    if wanted.max_tokens is not None:
        if allowed.positions is not None and wanted.max_tokens > allowed.positions:
            problem = f"spec.recipe.maxTokens is {wanted.max_tokens}; at most {allowed.positions}"
            raise StartFailed(Reason.INVALID_RECIPE, f"{problem}, the model has no more positions")
        return Told(value=wanted.max_tokens, origin="spec.recipe.maxTokens")
    told = (
        (files.transformer.get("max_seq_length"), files.transformer_file),
        (files.tokenizer.get("model_max_length"), "tokenizer_config.json"),
    )
    for value, origin in told:
        if value is not None and value < _NO_LIMIT:
            return _at_most(int(value), origin, allowed.positions)
    if allowed.positions is None:
        raise _missing("length", "maxTokens", "a number of tokens")
    return Told(value=allowed.positions, origin="config.json")


def _at_most(value: int, origin: str, positions: int | None) -> Told[int]:
    if positions is not None and value > positions:
        return Told(value=positions, origin="config.json")
    return Told(value=value, origin=origin)


def _dimensions(wanted: Wanted, allowed: Limits) -> Told[int]:
    if wanted.dimensions is None:
        return Told(value=allowed.width, origin="config.json")
    if wanted.dimensions > allowed.width:
        problem = f"spec.recipe.dimensions is {wanted.dimensions}; the model has {allowed.width}"
        raise StartFailed(Reason.INVALID_RECIPE, problem)
    return Told(value=wanted.dimensions, origin="spec.recipe.dimensions")


def _lower(files: _Files) -> Told[bool]:
    value = bool(files.transformer.get("do_lower_case", False))
    return Told(value=value, origin=files.transformer_file)


def _prompts(wanted: Wanted, files: _Files) -> Told[Mapping[str, str]]:
    if wanted.prompts is not None:
        return Told(value=wanted.prompts, origin="spec.recipe.prompts")
    name = "config_sentence_transformers.json"
    return Told(value=files.settings.get("prompts") or {}, origin=name)


def _default_prompt(files: _Files, prompts: Told[Mapping[str, str]]) -> Told[str]:
    """What stands before a text that names no side: nothing, unless the model's author chose a prompt."""
    chosen = files.settings.get("default_prompt_name")
    name = "config_sentence_transformers.json"
    if chosen is None:
        return Told(value="", origin=name)
    if chosen not in prompts.value:
        problem = f"{name} names the default prompt {chosen!r}, which {prompts.origin} lacks"
        raise StartFailed(Reason.INVALID_RECIPE, f"{problem}; have: {sorted(prompts.value)}")
    return Told(value=prompts.value[chosen], origin=name)
