"""BERT and its kin (RoBERTa, XLM-R, CamemBERT) over packed sequences, in torch alone.

Importing transformers costs four times what importing torch does, and users wait for it at every cold start;
most embedding models are of this family. Equal to transformers' own, which tests/runtime compares it with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.adaptation import Adaptation, adaptation
from kubeembed_runtime.model.attention import attention
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.limits import padding
from kubeembed_runtime.model.lora import Part, Site, site
from kubeembed_runtime.model.norms import Norm
from kubeembed_runtime.model.packing import Batch, Packing
from kubeembed_runtime.model.products import ACTIVATIONS, product, rounded

#: model_type -> does it count positions from its padding index + 1, as fairseq did?
FAMILY: Mapping[str, bool] = {
    "bert": False,
    "camembert": True,
    "roberta": True,
    "xlm-roberta": True,
}


def computes(config: Mapping[str, Any]) -> bool:
    """Is the model of this family? `shape` may still find it to be of a kind that nobody computes."""
    return config.get("model_type") in FAMILY and config.get("hidden_act") in ACTIVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The part of config.json that the forward pass needs."""

    hidden: int
    heads: int
    layers: int
    epsilon: float
    activation: str
    padding: int | None  # the id whose position is its own number; others count from the next
    positions: int  # how many tokens a sequence may have


def shape(config: Mapping[str, Any]) -> Shape:
    """Raises StartFailed for what this module does not compute."""
    _refuse(config, "position_embedding_type", "absolute")
    _refuse(config, "is_decoder", False)
    if config["hidden_act"] not in ACTIVATIONS:
        raise _unsupported("hidden_act", config["hidden_act"], ", ".join(ACTIVATIONS))
    pad = padding(config) if FAMILY[config["model_type"]] else None
    first = 0 if pad is None else pad + 1
    return Shape(
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        layers=config["num_hidden_layers"],
        epsilon=config.get("layer_norm_eps", 1e-12),
        activation=config["hidden_act"],
        padding=pad,
        positions=config["max_position_embeddings"] - first,
    )


def _refuse(config: Mapping[str, Any], key: str, allowed: object) -> None:
    if config.get(key, allowed) not in (allowed, None):
        raise _unsupported(key, config[key], str(allowed))


def _unsupported(key: str, found: object, supported: str) -> StartFailed:
    problem = f"config.json has {key} {found!r}; supported: {supported}"
    return StartFailed(Reason.UNSUPPORTED_MODEL, problem)


class Linear:
    """x W + b, and what adapters add to it."""

    def __init__(self, weight: Tensor, bias: Tensor, site: Site) -> None:
        """weight: (out, in), as checkpoints have it; site: what adapters know it by."""
        self.product, self.site = product(weight, bias), site

    def __call__(self, x: Tensor, adapted: Adaptation | None = None) -> Tensor:
        return self._adapted(self.product(x), x, adapted)

    def normed(
        self, x: Tensor, other: Tensor, norm: Norm, adapted: Adaptation | None = None
    ) -> Tensor:
        """Its result and `other`, summed and normalised."""
        if norm.adds:
            return norm.sum(self(x, adapted), other)
        return norm(self._adapted(self.product.plus(x, other), x, adapted))

    def activated(self, x: Tensor, activation: str, adapted: Adaptation | None = None) -> Tensor:
        """The activation of its result."""
        if adapted is None or not adapted.changes(self.site):
            return self.product.activated(x, activation)
        return ACTIVATIONS[activation](self(x, adapted))

    def _adapted(self, y: Tensor, x: Tensor, adapted: Adaptation | None) -> Tensor:
        if adapted is not None:
            adapted.add(y, x, self.site)
        return y


class Layer:
    """One block: attention, then the feed-forward pair, each added to its input and normalised."""

    def __init__(self, weights: Checkpoint, name: str, shape: Shape) -> None:
        self.heads = shape.heads
        self.activation = shape.activation
        self.qkv = _fused(weights, f"{name}.attention.self", ("query", "key", "value"))
        self.out = _linear(weights, f"{name}.attention.output.dense")
        self.out_norm = _norm(weights, f"{name}.attention.output.LayerNorm", shape)
        self.up = _linear(weights, f"{name}.intermediate.dense")
        self.down = _linear(weights, f"{name}.output.dense")
        self.down_norm = _norm(weights, f"{name}.output.LayerNorm", shape)

    @property
    def sites(self) -> tuple[Site, ...]:
        """What adapters may change here."""
        return tuple(linear.site for linear in (self.qkv, self.out, self.up, self.down))

    def __call__(self, x: Tensor, packing: Packing, adapted: Adaptation | None = None) -> Tensor:
        """x: (t, h)."""
        qkv = self.qkv(x, adapted).view(x.shape[0], 3, self.heads, -1)
        q, k, v = qkv.unbind(1)  # (t, heads, d) each
        x = self.out.normed(attention(q, k, v, packing), x, self.out_norm, adapted)  # (t, h)
        inner = self.up.activated(x, self.activation, adapted)
        return self.down.normed(inner, x, self.down_norm, adapted)


class Bert:
    """Packed token ids -> hidden states of the last layer."""

    def __init__(self, weights: Checkpoint, shape: Shape) -> None:
        embeddings = "embeddings"
        self.shape = shape
        self.words = weights.take(f"{embeddings}.word_embeddings.weight")
        kinds = weights.take(f"{embeddings}.token_type_embeddings.weight")
        # Nearly every token is of kind 0: its embedding is added to the positions' once, at load.
        places = weights.take(f"{embeddings}.position_embeddings.weight")
        if shape.padding is not None:  # whose place goes last, where -1 finds it
            places = places[shape.padding :].roll(-1, 0)
        self.places = places + kinds[0]
        self.kinds = kinds - kinds[0]
        self.norm = _norm(weights, f"{embeddings}.LayerNorm", shape)
        self.layers = [Layer(weights, f"encoder.layer.{i}", shape) for i in range(shape.layers)]

    def __call__(self, batch: Batch, adapted: Adaptation | None = None) -> Tensor:
        """Returns (t, h). adapted: what the batch's adapters add, where that is made beforehand."""
        tokens = len(batch.ids)
        x = self._embedded(batch, tokens if batch.ids.is_cuda else rounded(tokens))
        adapted = adapted or adaptation(batch.spans, x)
        for layer in self.layers:
            x = layer(x, batch.packing, adapted)
        return x[:tokens]

    def _embedded(self, batch: Batch, rows: int) -> Tensor:
        """(rows, h): the tokens', and after them rows of no sequence, which nothing reads."""

        def filled(values: Tensor) -> Tensor:
            return functional.pad(values, (0, rows - len(values)))

        x, places = self.words[filled(batch.ids)], self.places[filled(batch.positions)]
        if batch.kinds is not None:
            places = places + self.kinds[filled(batch.kinds)]
        return self.norm.sum(x, places)

    @property
    def padding(self) -> int | None:
        """The token that counts no position."""
        return self.shape.padding

    @property
    def sites(self) -> tuple[Site, ...]:
        """What adapters may change."""
        return tuple(site for layer in self.layers for site in layer.sites)

    @property
    def usual_sites(self) -> tuple[Site, ...]:
        """What they change where nobody told PEFT: queries and values."""
        return tuple(layer.qkv.site for layer in self.layers)


def _linear(weights: Checkpoint, name: str) -> Linear:
    weight = weights.take(f"{name}.weight")
    return Linear(weight, weights.take(f"{name}.bias"), site(name, weight))


def _fused(weights: Checkpoint, name: str, parts: Sequence[str]) -> Linear:
    """Layers that read the same input, as one product."""
    paths = [f"{name}.{part}" for part in parts]
    weight = torch.cat([weights.take(f"{path}.weight") for path in paths])
    bias = torch.cat([weights.take(f"{path}.bias") for path in paths])
    width = weight.shape[0] // len(paths)
    columns = [
        Part(path=path, start=index * width, end=(index + 1) * width)
        for index, path in enumerate(paths)
    ]
    return Linear(weight, bias, Site(name=name, inputs=weight.shape[1], parts=tuple(columns)))


def _norm(weights: Checkpoint, name: str, shape: Shape) -> Norm:
    return Norm(weights.take(f"{name}.weight"), weights.take(f"{name}.bias"), shape.epsilon)
