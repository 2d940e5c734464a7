"""A model's own files -> what they tell of its recipe, whichever library wrote them.

sentence-transformers' four kinds of model, PyLate, stanford's ColBERT and FlagEmbedding's BGE-M3 are told
apart by what they leave behind. A file that tells something that cannot be served is an error, not silence.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from kubeembed_api.spec import Pooling
from kubeembed_runtime.model.files import MODULES, SETTINGS, TOKENIZER, Files
from kubeembed_runtime.model.late import bge_m3, late_interaction, stanford
from kubeembed_runtime.model.modules import (
    Facts,
    document_route,
    projections,
    refuse_other_modules,
    refuse_other_texts,
    refuse_sides,
    tokenizer_arguments,
    unsupported,
)
from kubeembed_runtime.model.recipes import ScoreRecipe, SparseActivation, SparseRecipe, Told

#: In the order that a text goes through them.
_DENSE_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_SPARSE_MODULES = ("Transformer", "MLMTransformer", "SpladePooling")

#: Old pooling configurations have one flag per mode; new ones name the mode. Vectors of several lie in the
#: order of this list, or in that of the names.
_OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS: Mapping[str, Pooling] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "meanSqrtLength",
    "weightedmean": "weightedMean",
    "lasttoken": "lastToken",
}

#: sentence-transformers' name of an activation before log1p -> ours, which names the whole.
_SPARSE_ACTIVATIONS: Mapping[str, SparseActivation] = {
    "relu": "log1p_relu",
    "log1p_relu": "log1p_log1p_relu",
}

#: Tokenizers without a limit say 10^30, which is no limit either.
_NO_LIMIT = 10_000_000

#: The library that writes tokenizer.json begins with these two; the rest may be 30 MB.
_STORED = "tokenizer.json"
_STORED_HEAD = re.compile(r'\s*\{\s*"version"\s*:\s*"[^"]*"\s*,\s*"truncation"\s*:\s*')


def told_by_files(files: Files) -> Facts:
    """Raises StartFailed: UnsupportedModel."""
    refuse_other_texts(files)
    return {**_texts(files), **_prompts(files), **_attention(files), **_outputs(files)}


def _texts(files: Files) -> Facts:
    facts: dict[str, Told[Any]] = {}
    arguments = tokenizer_arguments(files)
    lengths = (
        (arguments.get("model_max_length"), files.transformer_file),
        (files.transformer.get("max_seq_length"), files.transformer_file),
        (files.tokenizer.get("model_max_length"), TOKENIZER),
    )
    for value, origin in lengths:
        if value is not None and value < _NO_LIMIT:
            facts["max_tokens"] = Told(value=int(value), origin=origin)
            break
    if "do_lower_case" in files.transformer:
        lower = bool(files.transformer["do_lower_case"])
        facts["lower"] = Told(value=lower, origin=files.transformer_file)
    if files.tokenizer.get("add_eos_token") is True:
        # transformers 5 drops it beside a tokenizer.json, whose post-processor alone ends texts.
        why = "add_eos_token counts no more: tokenizer.json ends texts, or nobody does"
        facts["no_eos"] = Told(value=False, origin=f"{TOKENIZER}, {why}")
    return {**facts, **_truncation(files, arguments)}


def _truncation(files: Files, arguments: Mapping[str, Any]) -> Facts:
    """Which end of a text is cut; nothing where all take transformers' own way."""
    for told, origin in ((arguments, files.transformer_file), (files.tokenizer, TOKENIZER)):
        if told.get("truncation_side") in ("left", "right"):
            return {"truncation": Told(value=told["truncation_side"], origin=origin)}
    if (_stored_truncation(files) or {}).get("direction") == "Left":
        return {"truncation": Told(value="left", origin=f"{_STORED}, truncation")}
    return {}


def _stored_truncation(files: Files) -> Any:
    """What tokenizer.json has of it, read from its head alone where it is as the library writes it."""
    if not files.has(_STORED):
        return None
    with (files.folder / _STORED).open(encoding="utf-8") as file:
        head = file.read(4096)
    found = _STORED_HEAD.match(head)
    if found is None:
        return files.read(_STORED).get("truncation")
    try:
        return json.JSONDecoder().raw_decode(head, found.end())[0]
    except ValueError:
        return files.read(_STORED).get("truncation")


def _prompts(files: Files) -> Facts:
    facts: dict[str, Told[Any]] = {}
    prompts = {name: text or "" for name, text in (files.settings.get("prompts") or {}).items()}
    if prompts:
        facts["prompts"] = Told(value=prompts, origin=SETTINGS)
    if files.settings.get("default_prompt_name") is not None:
        name = files.settings["default_prompt_name"]
        facts["default_prompt_name"] = Told(value=name, origin=SETTINGS)
    return facts


def _attention(files: Files) -> Facts:
    """Only what is said outright; otherwise the architecture decides, which `resolving` knows."""
    config = files.config.get("text_config") or files.config
    for key, causal in (("is_causal", True), ("use_bidirectional_attention", False)):
        if isinstance(config.get(key), bool):
            value = config[key] is causal
            return {"causal": Told(value=value, origin=f"config.json, {key}")}
    return {}


def _outputs(files: Files) -> Facts:
    model_type = files.settings.get("model_type")
    architecture = next(iter(files.config.get("architectures") or ()), "")
    if architecture == "HF_ColBERT":
        return stanford(files)
    if model_type in ("ColBERT", "MultiVectorEncoder") or "query_prefix" in files.settings:
        return late_interaction(files, pylate=model_type != "MultiVectorEncoder")
    refuse_sides(files)
    if model_type == "SparseEncoder" or "SpladePooling" in files.kinds():
        return _sparse(files)
    # An architecture may be that of the model that another began with: modules tell more.
    left_over = model_type is not None or "Pooling" in files.kinds()
    scores = architecture.endswith("ForSequenceClassification") and not left_over
    if model_type == "CrossEncoder" or scores:
        return _cross_encoder(files)
    if model_type not in (None, "SentenceTransformer"):
        known = "SentenceTransformer, SparseEncoder, CrossEncoder, MultiVectorEncoder, ColBERT"
        raise unsupported(f"{SETTINGS} says model_type {model_type}; supported: {known}")
    return {**_dense(files), **bge_m3(files)}


def _dense(files: Files) -> Facts:
    if files.modules is None:
        return {}
    refuse_other_modules(files, _DENSE_MODULES)
    facts: dict[str, Told[Any]] = {
        "outputs": Told(value=("dense",), origin=MODULES),
        "normalize": Told(value="Normalize" in files.kinds(), origin=MODULES),
        **projections(files),
    }
    if files.settings.get("truncate_dim") is not None:
        cut = int(files.settings["truncate_dim"])
        facts["truncate_dim"] = Told(value=cut, origin=f"{SETTINGS}, truncate_dim")
    module = files.module("Pooling")
    return facts if module is None or not module[1] else {**facts, **_pooling(*module)}


def _pooling(name: str, config: Mapping[str, Any]) -> Facts:
    named = _modes(config)
    unknown = [str(mode) for mode in named if mode not in _POOLINGS]
    if unknown:
        known = ", ".join(_POOLINGS)
        raise unsupported(f"{name} pools by {', '.join(unknown)}; supported: {known}")
    include = Told(value=bool(config.get("include_prompt", True)), origin=name)
    if not named:
        return {"include_prompt": include}
    modes = tuple(_POOLINGS[mode] for mode in named)
    value = modes[0] if len(modes) == 1 else modes
    return {"pooling": Told(value=value, origin=name), "include_prompt": include}


def _modes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    return [mode for flag, mode in _OLD_POOLINGS.items() if config.get(flag)]


def _sparse(files: Files) -> Facts:
    routed = "Router" in files.kinds()
    if not routed:
        refuse_other_modules(files, _SPARSE_MODULES)
    name, config = (
        document_route(files) if routed else files.module("SpladePooling") or (MODULES, {})
    )
    strategy = config.get("pooling_strategy", "max")
    if strategy != "max":
        raise unsupported(f"{name} pools sparse weights by {strategy}; supported: max")
    activation = config.get("activation_function", "relu")
    if activation not in _SPARSE_ACTIVATIONS:
        known = ", ".join(_SPARSE_ACTIVATIONS)
        raise unsupported(f"{name} activates by {activation}; supported: {known}")
    recipe = SparseRecipe(
        kind="mlm", activation=_SPARSE_ACTIVATIONS[activation], documents_only=routed
    )
    return {
        "outputs": Told(value=("sparse",), origin=MODULES),
        "sparse": Told(value=recipe, origin=name),
    }


def _cross_encoder(files: Files) -> Facts:
    refuse_other_modules(files, ("Transformer",))
    names = files.config.get("id2label")
    labels = len(names) if names else int(files.config.get("num_labels", 2))
    config = (
        ((files.config.get("sentence_transformers") or {}).get("activation_fn"), "config.json"),
        (files.config.get("sbert_ce_default_activation_function"), "config.json"),
    )
    settings = ((files.settings.get("activation_fn"), SETTINGS),)
    # Where there is a modules.json, the library reads its settings first.
    stored = config + settings if files.modules is None else settings + config
    named = [(str(name), origin) for name, origin in stored if name is not None]
    activation, origin = _activation(*named[0]) if named else _usual_activation(labels)
    recipe = ScoreRecipe(labels=labels, activation=activation)
    return {
        "outputs": Told(value=("score",), origin="config.json, architectures"),
        "score": Told(value=recipe, origin=origin),
    }


def _activation(name: str, origin: str) -> tuple[Any, str]:
    short = name.rpartition(".")[2].lower()
    # The library runs no other code than torch's, and takes its own choice in its stead.
    if short not in ("sigmoid", "identity") or not name.startswith("torch."):
        known = "Sigmoid, Identity of torch.nn"
        raise unsupported(f"{origin} activates scores by {name}; supported: {known}")
    return short, origin


def _usual_activation(labels: int) -> tuple[Any, str]:
    usual = "sigmoid" if labels == 1 else "identity"
    return usual, f"config.json ({labels} labels: sentence-transformers takes {usual})"
