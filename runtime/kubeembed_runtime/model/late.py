"""Models with a vector per token, as PyLate, sentence-transformers, stanford and FlagEmbedding leave them."""

import string
from collections.abc import Mapping
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import MODULES, SETTINGS, Files
from kubeembed_runtime.model.modules import Facts, projections, refuse_other_modules, unsupported
from kubeembed_runtime.model.recipes import MultivectorRecipe, SparseRecipe, Told
from kubeembed_runtime.model.specialtokens import special_tokens

_TOKEN_MODULES = ("Transformer", "Dense", "Normalize", "MultiVectorMask")

_PUNCTUATION = tuple(string.punctuation)


def late_interaction(files: Files, *, pylate: bool) -> Facts:
    """PyLate's files, or those of sentence-transformers' MultiVectorEncoder, which took them over."""
    refuse_other_modules(files, _TOKEN_MODULES)
    told = {**files.transformer, **files.settings}
    found = projections(files, "token_embeddings")
    width = found["dimensions"].value if found else files.config.get("hidden_size", 0)
    expansion = _expansion(told, pylate)
    _refuse_other_expansions(files, expansion or {})
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
        "projections": found.get("projections", Told(value=(), origin=MODULES)),
    }


def _expansion(told: Mapping[str, Any], pylate: bool) -> Mapping[str, Any] | None:
    """How a query is filled up; PyLate did so unless told not to."""
    if "query_expansion" in told or not pylate or told.get("do_query_expansion") is False:
        return told.get("query_expansion")
    attend = bool(told.get("attend_to_expansion_tokens"))
    return {"attend": attend, "length": told.get("query_length") or 32}


def _refuse_other_expansions(files: Files, told: Mapping[str, Any]) -> None:
    """Told of none, it is up to a fixed length with the tokenizer's own token for it."""
    if told.get("strategy", "fixed") != "fixed":
        problem = f"query_expansion has strategy {told['strategy']!r}"
        raise unsupported(f"{problem}; supported: 'fixed', which fills queries up to a length")
    if told and not isinstance(told.get("length"), int):
        problem = f"query_expansion has length {told.get('length')!r}"
        raise StartFailed(Reason.INVALID_RECIPE, f"{problem}; write how many tokens queries get")
    if told.get("token") is None:
        return
    filler = special_tokens(files).filler
    if told["token"] != filler:
        problem = f"query_expansion has token {told['token']!r}"
        raise unsupported(f"{problem}; supported: the tokenizer's mask_token, {filler!r}")


def stanford(files: Files) -> Facts:
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


def bge_m3(files: Files) -> Facts:
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
