"""A checkpoint and its recipe -> the heads: what makes one kind of output each of a batch's hidden states."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.files import Files
from kubeembed_runtime.model.heads.dense import Dense
from kubeembed_runtime.model.heads.layers import Layer, module, stored, taken
from kubeembed_runtime.model.heads.mlm import mlm
from kubeembed_runtime.model.heads.multivector import Multivector
from kubeembed_runtime.model.heads.queries import query_weights
from kubeembed_runtime.model.heads.score import Score, classifier
from kubeembed_runtime.model.heads.sparse import Linear, Mlm, Routed
from kubeembed_runtime.model.heads.states import token_states
from kubeembed_runtime.model.limits import limits
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.model.recipes import Recipe
from kubeembed_runtime.model.tokenizerfiles import read_tokenizer
from kubeembed_runtime.requests import Item, Kind

#: (hidden states (t, h), the batch, its items, the places of those that ask) -> a value for each place.
Head = Callable[[Tensor, Batch, Sequence[Item], Sequence[int]], Sequence[Any]]


#: Names of tokens -> the ids of those that the vocabulary has.
Lookup = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What heads are built of.

    lookup: None reads the folder's tokenizer, where the recipe names tokens. words: the body's word
    embeddings (vocabulary, h), which a tied decoder shares; None reads them from the checkpoint.
    """

    weights: Checkpoint
    folder: Path
    config: Mapping[str, Any]
    recipe: Recipe
    lookup: Lookup | None = None
    words: Tensor | None = None


def build(parts: Parts) -> dict[Kind, Head]:
    """A head for each output of the recipe, and the bare states beside. Raises StartFailed."""
    told = {kind: _BUILDERS[kind](parts) for kind in parts.recipe.outputs.value}
    return {**told, "tokens": token_states}


def _dense(parts: Parts) -> Head:
    recipe = parts.recipe
    if not recipe.poolings:
        raise _lacks("pooling", "dense")
    return Dense(
        pooling=recipe.poolings,
        normalize=recipe.normalize.value,
        dimensions=recipe.dimensions.value,
        projections=_modules(parts, torch.float32, len(recipe.poolings)),
    )


def _sparse(parts: Parts) -> Head:
    recipe = parts.recipe.sparse.value
    if recipe is None:
        raise _lacks("sparse", "sparse")
    if recipe.kind == "mlm":
        transform, decoder = mlm(parts.weights, parts.config, parts.words)
        head = Mlm(
            transform=transform,
            decoder=decoder,
            activation=recipe.activation,
            skip=_skipped(parts, recipe.skip),
        )
        return _routed(parts, head, recipe.file) if recipe.documents_only else head
    layer = _beside(parts, recipe.file or "sparse_linear.pt")
    return Linear(
        layer=layer,
        activation=recipe.activation,
        skip=_skipped(parts, recipe.skip),
    )


def _routed(parts: Parts, documents: Mlm, file: str | None) -> Head:
    vocabulary = _vocabulary(parts)
    return Routed(
        documents=documents,
        weights=query_weights(parts.folder, file, vocabulary),
        frame=vocabulary.encode("").ids,
    )


def _multivector(parts: Parts) -> Head:
    recipe = parts.recipe.multivector.value
    if recipe is None:
        raise _lacks("multivector", "multivector")
    return Multivector(
        projections=_projections(parts, recipe.file),
        normalize=recipe.normalize,
        skip=_skipped(parts, recipe.skip),
        skip_first=recipe.skip_first,
    )


def _projections(parts: Parts, file: str | None) -> list[Layer]:
    """Of tokens: the file that the recipe names, else the Dense modules of a model that pools nothing."""
    if file is not None:
        return [_beside(parts, file)]
    return [] if parts.recipe.poolings else _modules(parts, parts.weights.dtype, 1)


def _modules(parts: Parts, dtype: torch.dtype, vectors: int) -> list[Layer]:
    """The recipe's Dense modules. vectors: how many hidden states end to end the first one reads."""
    width, layers = vectors * limits(parts.config).width, []
    for name in parts.recipe.projections.value:
        layer = module(parts.folder / name, dtype, parts.weights.device)
        out, into = layer.weight.shape
        if into != width:
            problem = (
                f"{parts.folder / name} reads {into} numbers, and what comes before gives {width}"
            )
            raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem} ({_shown(parts.recipe)})")
        layers.append(layer)
        width = out
    return layers


def _shown(recipe: Recipe) -> str:
    """How states become what projections read, and who says so."""
    told = " and ".join(recipe.poolings) or "none"
    return f"pooling: {told}, by {recipe.pooling.origin}"


def _beside(parts: Parts, name: str) -> Layer:
    """A Dense module's folder, a parameter of the main weights, or a state dict beside them."""
    weights = parts.weights
    if name in weights:
        return taken(weights, name.removesuffix(".weight"))
    if (parts.folder / name).is_dir():
        return module(parts.folder / name, weights.dtype, weights.device)
    tensors = {
        key: tensor.to(device=weights.device, dtype=weights.dtype)
        for key, tensor in stored(parts.folder / name).items()
    }
    if "weight" not in tensors:
        problem = f"{parts.folder / name} has {sorted(tensors)}; needed: weight, and bias if any"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return Layer(weight=tensors["weight"], bias=tensors.get("bias"))


def _score(parts: Parts) -> Head:
    recipe = parts.recipe.score.value
    if recipe is None:
        raise _lacks("score", "score")
    return Score(classifier=classifier(parts.weights, parts.config), activation=recipe.activation)


def _skipped(parts: Parts, names: Sequence[str]) -> Sequence[int]:
    """Never none by accident: a head that leaves nothing out answers, and wrongly."""
    if not names:
        return ()
    if parts.lookup is not None:
        return parts.lookup(names)
    vocabulary = _vocabulary(parts)
    found = [vocabulary.token_to_id(name) for name in names]
    return [token for token in found if token is not None]


def _vocabulary(parts: Parts) -> Tokenizer:
    return read_tokenizer(Files(parts.folder), lower=False).fast


def _lacks(part: str, kind: Kind) -> StartFailed:
    problem = f"the recipe has {kind} among its outputs and does not tell its {part}"
    return StartFailed(Reason.INVALID_RECIPE, problem)


_BUILDERS: Mapping[Kind, Callable[[Parts], Head]] = {
    "dense": _dense,
    "sparse": _sparse,
    "multivector": _multivector,
    "score": _score,
}
