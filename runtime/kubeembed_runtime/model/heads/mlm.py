"""The masked-language-model head of a checkpoint: h -> h, then a logit for every entry of the vocabulary.

The decoder is mostly the word embeddings themselves, and is then not held twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads.layers import Layer, named, norm, optional, taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What a family calls the parts. activation, epsilon: the key in config.json, or the value itself."""

    dense: str
    norm: str
    decoder: str
    bias: str
    activation: str
    epsilon: str | float = "layer_norm_eps"


_FAMILIES = (
    _Names(  # BERT
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        decoder="cls.predictions.decoder",
        bias="cls.predictions.bias",
        activation="hidden_act",
    ),
    _Names(  # Nomic's BERT
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.layer_norm",
        decoder="cls.predictions.decoder",
        bias="cls.predictions.bias",
        activation="hidden_act",
    ),
    _Names(  # ALBERT
        dense="predictions.dense",
        norm="predictions.LayerNorm",
        decoder="predictions.decoder",
        bias="predictions.bias",
        activation="hidden_act",
    ),
    _Names(  # RoBERTa, XLM-R, CamemBERT, MPNet
        dense="lm_head.dense",
        norm="lm_head.layer_norm",
        decoder="lm_head.decoder",
        bias="lm_head.bias",
        activation="gelu",
    ),
    _Names(  # GTE
        dense="lm_head.dense",
        norm="lm_head.norm",
        decoder="lm_head.decoder",
        bias="lm_head.bias",
        activation="gelu",
    ),
    _Names(  # DistilBERT
        dense="vocab_transform",
        norm="vocab_layer_norm",
        decoder="vocab_projector",
        bias="vocab_projector.bias",
        activation="activation",
        epsilon=1e-12,
    ),
    _Names(  # ModernBERT
        dense="head.dense",
        norm="head.norm",
        decoder="decoder",
        bias="decoder.bias",
        activation="classifier_activation",
        epsilon="norm_eps",
    ),
    _Names(  # ELECTRA's generator
        dense="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        decoder="generator_lm_head",
        bias="generator_lm_head.bias",
        activation="gelu",
    ),
)


def mlm(
    weights: Checkpoint, config: Mapping[str, Any], words: Tensor | None
) -> tuple[Layer, Layer]:
    """(transform, decoder). words: the word embeddings (vocabulary, h). Raises StartFailed."""
    for names in _FAMILIES:
        if f"{names.dense}.weight" in weights and f"{names.norm}.weight" in weights:
            return _transform(weights, config, names), _decoder(weights, names, words)
    known = ", ".join(sorted({f"{names.dense}.weight" for names in _FAMILIES}))
    problem = "the weights have no masked-language-model head, which sparse vectors come from"
    raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; looked for {known}")


def _transform(weights: Checkpoint, config: Mapping[str, Any], names: _Names) -> Layer:
    epsilon = names.epsilon if isinstance(names.epsilon, float) else config.get(names.epsilon, 1e-5)
    activation = named(config.get(names.activation, "gelu"))
    return taken(weights, names.dense, activation, norm(weights, names.norm, epsilon))


def _decoder(weights: Checkpoint, names: _Names, words: Tensor | None) -> Layer:
    own = optional(weights, f"{names.decoder}.weight")
    weight = _tied(weights, words) if own is None else own
    if words is not None and own is not None and torch.equal(own, words):
        weight = words
    bias = optional(weights, f"{names.decoder}.bias")
    return Layer(weight=weight, bias=optional(weights, names.bias) if bias is None else bias)


def _tied(weights: Checkpoint, words: Tensor | None) -> Tensor:
    return weights.take("embeddings.word_embeddings.weight") if words is None else words
