"""A model's own files -> what they tell of its recipe, whichever library wrote them.

sentence-transformers' four kinds of model, PyLate, stanford's ColBERT and FlagEmbedding's BGE-M3 are told
apart by what they leave behind. A file that tells something that cannot be served is an error, not silence.
"""

import string
from collections.abc import Mapping
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import MODULES, SETTINGS, TOKENIZER, Files
from kubeembed_runtime.model.recipes import (
    MultivectorRecipe,
    Pooling,
    ScoreRecipe,
    SparseActivation,
    SparseRecipe,
    Told,
)

#: Fields of Recipe -> what is told of them.
Facts = Mapping[str, Told[Any]]

#: In the order that a text goes through them; those without effect when serving anywhere.
_DENSE_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_SPARSE_MODULES = ("Transformer", "MLMTransformer", "SpladePooling")
_TOKEN_MODULES = ("Transformer", "Dense", "Normalize", "MultiVectorMask")
_NO_EFFECT = ("Dropout",)

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

#: sentence-transformers' name of an activation before log1p -> ours, which names the whole.
_SPARSE_ACTIVATIONS: Mapping[str, SparseActivation] = {
    "relu": "log1p_relu",
    "log1p_relu": "log1p_log1p_relu",
}

#: Tokenizers without a limit say 10^30, which is no limit either.
_NO_LIMIT = 10_000_000

_PUNCTUATION = tuple(string.punctuation)


def told_by_files(files: Files) -> Facts:
    """Raises StartFailed: UnsupportedModel."""
    return {**_texts(files), **_prompts(files), **_attention(files), **_outputs(files)}


def _unsupported(problem: str) -> StartFailed:
    return StartFailed(Reason.UNSUPPORTED_MODEL, problem)


def _texts(files: Files) -> Facts:
    facts: dict[str, Told[Any]] = {}
    lengths = (
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
        facts["append_eos"] = Told(value=True, origin=TOKENIZER)
    if files.tokenizer.get("truncation_side") in ("left", "right"):
        facts["truncation"] = Told(value=files.tokenizer["truncation_side"], origin=TOKENIZER)
    return facts


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
        return _stanford(files)
    if model_type in ("ColBERT", "MultiVectorEncoder") or "query_prefix" in files.settings:
        return _late_interaction(files, pylate=model_type != "MultiVectorEncoder")
    if model_type == "SparseEncoder" or "SpladePooling" in files.kinds():
        return _sparse(files)
    if model_type == "CrossEncoder" or architecture.endswith("ForSequenceClassification"):
        return _cross_encoder(files)
    if model_type not in (None, "SentenceTransformer"):
        known = "SentenceTransformer, SparseEncoder, CrossEncoder, MultiVectorEncoder, ColBERT"
        raise _unsupported(f"{SETTINGS} says model_type {model_type}; supported: {known}")
    return {**_dense(files), **_bge_m3(files)}


def _refuse_other_modules(files: Files, known: tuple[str, ...]) -> None:
    """Each must be known, and the order the usual one: another is another computation."""
    kinds = [kind for kind in files.kinds() if kind not in _NO_EFFECT]
    for kind in kinds:
        if kind not in known:
            problem = f"{MODULES} has a {kind} module"
            raise _unsupported(f"{problem}; supported here: {', '.join(known)}")
    ordered = [kind for kind in kinds if kind != "MultiVectorMask"]  # it changes no vector
    if ordered != sorted(ordered, key=known.index):
        raise _unsupported(f"{MODULES} has {', '.join(kinds)}; supported: {', '.join(known)}")


def _dense(files: Files) -> Facts:
    if files.modules is None:
        return {}
    _refuse_other_modules(files, _DENSE_MODULES)
    facts: dict[str, Told[Any]] = {
        "outputs": Told(value=("dense",), origin=MODULES),
        "normalize": Told(value="Normalize" in files.kinds(), origin=MODULES),
        **_projections(files),
    }
    module = files.module("Pooling")
    return facts if module is None or not module[1] else {**facts, **_pooling(*module)}


def _pooling(name: str, config: Mapping[str, Any]) -> Facts:
    modes = _modes(config)
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        found = " + ".join(modes) or "nothing"
        raise _unsupported(f"{name} pools by {found}; supported: {', '.join(_POOLINGS)}")
    include = bool(config.get("include_prompt", True))
    return {
        "pooling": Told(value=_POOLINGS[modes[0]], origin=name),
        "include_prompt": Told(value=include, origin=name),
    }


def _modes(config: Mapping[str, Any]) -> list[str]:
    named = config.get("pooling_mode")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    return [mode for flag, mode in _OLD_POOLINGS.items() if config.get(flag)]


def _projections(files: Files) -> Facts:
    folders = tuple(files.folders("Dense"))
    if not folders:
        return {}
    last = f"{folders[-1]}/config.json"
    width = files.read(last).get("out_features")
    if width is None:
        raise _unsupported(f"{last} tells no out_features")
    return {
        "projections": Told(value=folders, origin=MODULES),
        "dimensions": Told(value=int(width), origin=last),
    }


def _bge_m3(files: Files) -> Facts:
    """FlagEmbedding keeps its other two heads beside a model that is otherwise an ordinary one."""
    facts: dict[str, Told[Any]] = {}
    outputs = ["dense"]
    sparse, tokens = "sparse_linear.pt", "colbert_linear.pt"
    if files.has(sparse):
        outputs.append("sparse")
        facts["sparse"] = Told(value=BGE_M3_SPARSE, origin=sparse)
    if files.has(tokens):
        outputs.append("multivector")
        width = int(files.config.get("hidden_size", 0))
        recipe = MultivectorRecipe(dimensions=width, skip_first=True, mean=True, file=tokens)
        facts["multivector"] = Told(value=recipe, origin=tokens)
    if facts:
        facts["outputs"] = Told(value=tuple(outputs), origin=f"{sparse}, {tokens}")
    return facts


#: FlagEmbedding drops XLM-R's special tokens from the weights.
BGE_M3_SPARSE = SparseRecipe(
    kind="linear",
    activation="relu",
    skip=("<s>", "</s>", "<pad>", "<unk>"),
    file="sparse_linear.pt",
)


def _sparse(files: Files) -> Facts:
    routed = "Router" in files.kinds()
    if not routed:
        _refuse_other_modules(files, _SPARSE_MODULES)
    name, config = (
        _document_route(files) if routed else files.module("SpladePooling") or (MODULES, {})
    )
    strategy = config.get("pooling_strategy", "max")
    if strategy != "max":
        raise _unsupported(f"{name} pools sparse weights by {strategy}; supported: max")
    activation = config.get("activation_function", "relu")
    if activation not in _SPARSE_ACTIVATIONS:
        known = ", ".join(_SPARSE_ACTIVATIONS)
        raise _unsupported(f"{name} activates by {activation}; supported: {known}")
    recipe = SparseRecipe(
        kind="mlm", activation=_SPARSE_ACTIVATIONS[activation], documents_only=routed
    )
    return {
        "outputs": Told(value=("sparse",), origin=MODULES),
        "sparse": Told(value=recipe, origin=name),
    }


def _document_route(files: Files) -> tuple[str, Mapping[str, Any]]:
    """A router with two ways: a query's tokens have fixed weights, a document is encoded."""
    name = "router_config.json"
    told = files.read(name)
    ways = {
        side: [told["types"][path].rpartition(".")[2] for path in told["structure"].get(side, ())]
        for side in ("query", "document")
    }
    if ways != {
        "query": ["SparseStaticEmbedding"],
        "document": ["MLMTransformer", "SpladePooling"],
    }:
        raise _unsupported(
            f"{name} routes {ways}; supported: queries by weights, documents by SPLADE"
        )
    encoder, pooling = told["structure"]["document"]
    if encoder:
        raise _unsupported(f"{name} has its encoder in {encoder}; supported: beside config.json")
    path = f"{pooling}/config.json"
    return path, files.read(path)


def _cross_encoder(files: Files) -> Facts:
    _refuse_other_modules(files, ("Transformer",))
    names = files.config.get("id2label")
    labels = len(names) if names else int(files.config.get("num_labels", 2))
    stored = (
        ((files.config.get("sentence_transformers") or {}).get("activation_fn"), "config.json"),
        (files.config.get("sbert_ce_default_activation_function"), "config.json"),
        (files.settings.get("activation_fn"), SETTINGS),
    )
    named = [(str(name), origin) for name, origin in stored if name is not None]
    activation, origin = _activation(*named[0]) if named else _usual_activation(labels)
    recipe = ScoreRecipe(labels=labels, activation=activation)
    return {
        "outputs": Told(value=("score",), origin="config.json, architectures"),
        "score": Told(value=recipe, origin=origin),
    }


def _activation(name: str, origin: str) -> tuple[Any, str]:
    short = name.rpartition(".")[2].lower()
    if short not in ("sigmoid", "identity"):
        raise _unsupported(f"{origin} activates scores by {name}; supported: Sigmoid, Identity")
    return short, origin


def _usual_activation(labels: int) -> tuple[Any, str]:
    usual = "sigmoid" if labels == 1 else "identity"
    return usual, f"config.json ({labels} labels: sentence-transformers takes {usual})"


def _late_interaction(files: Files, *, pylate: bool) -> Facts:
    """PyLate's files, or those of sentence-transformers' MultiVectorEncoder, which took them over."""
    _refuse_other_modules(files, _TOKEN_MODULES)
    told = {**files.transformer, **files.settings}
    projections = _projections(files)
    width = projections["dimensions"].value if projections else files.config.get("hidden_size", 0)
    expansion = _expansion(told, pylate)
    mask = files.module("MultiVectorMask")
    usual = _PUNCTUATION if pylate else ()
    skip = mask[1].get("skiplist_words") if mask else told.get("skiplist_words", usual)
    recipe = MultivectorRecipe(
        dimensions=int(width),
        query_tokens=expansion["length"] if expansion else told.get("query_length"),
        document_tokens=told.get("document_length", 180 if pylate else None),
        expand=expansion is not None,
        attend_expansion=bool((expansion or {}).get("attend")),
        query_marker=told.get("query_prefix"),
        document_marker=told.get("document_prefix"),
        skip=tuple(skip or ()),
        normalize=pylate or "Normalize" in files.kinds(),
    )
    return {
        "outputs": Told(value=("multivector",), origin=SETTINGS),
        "multivector": Told(value=recipe, origin=SETTINGS),
        "projections": projections.get("projections", Told(value=(), origin=MODULES)),
    }


def _expansion(told: Mapping[str, Any], pylate: bool) -> Mapping[str, Any] | None:
    """How a query is filled up; PyLate did so unless told not to."""
    if "query_expansion" in told or not pylate or told.get("do_query_expansion") is False:
        return told.get("query_expansion")
    attend = bool(told.get("attend_to_expansion_tokens"))
    return {"attend": attend, "length": told.get("query_length") or 32}


def _stanford(files: Files) -> Facts:
    name = "artifact.metadata"
    told = files.read(name)
    if not told:
        problem = f"config.json says HF_ColBERT and there is no {name} to tell its recipe"
        raise StartFailed(Reason.INVALID_RECIPE, problem)
    recipe = MultivectorRecipe(
        dimensions=int(told.get("dim", 128)),
        query_tokens=told.get("query_maxlen", 32),
        document_tokens=told.get("doc_maxlen", 220),
        expand=True,
        attend_expansion=bool(told.get("attend_to_mask_tokens")),
        query_marker=told.get("query_token_id", "[unused0]"),
        document_marker=told.get("doc_token_id", "[unused1]"),
        skip=_PUNCTUATION if told.get("mask_punctuation", True) else (),
        file="linear.weight",
    )
    return {
        "outputs": Told(value=("multivector",), origin=name),
        "multivector": Told(value=recipe, origin=name),
    }
