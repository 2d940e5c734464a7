"""Hidden states of a pair of texts -> how well the second answers the first (cross-encoders).

Every family of transformers has a sequence classification head of its own; they differ in which token is read
and in one hidden layer, and the names of the parameters tell them apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.heads.layers import Layer, apply, named, norm, taken
from kubeembed_runtime.model.heads.pooling import mean
from kubeembed_runtime.model.heads.tokens import offsets
from kubeembed_runtime.model.packing import Batch
from kubeembed_runtime.requests import Item, Vector

#: late: the layers first, then the mean over the tokens.
Read = Literal["first", "last", "mean", "late"]

#: The activation in a head like RoBERTa's, by model_type, as transformers' source has it for each.
#: Longformer is none: its first token sees all others when pairs are scored, and not in the base model alone.
_FIXED: Mapping[str, str] = {
    "camembert": "tanh",
    "data2vec-text": "tanh",
    "electra": "gelu",
    "esm": "tanh",
    "ibert": "tanh",
    "jina_embeddings_v3": "tanh",
    "lilt": "tanh",
    "mpnet": "tanh",
    "roberta": "tanh",
    "roberta-prelayernorm": "tanh",
    "xlm-roberta": "tanh",
    "xlm-roberta-xl": "tanh",
    "xmod": "tanh",
}

#: Those whose head takes the hidden layers' activation.
_AS_HIDDEN = ("big_bird", "convbert", "mra", "nystromformer", "roformer", "yoso")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Which token is read, and the layers that make labels of it. pad: `last` is the last other than this."""

    read: Read
    layers: tuple[Layer, ...]
    pad: int | None = None


class Score:
    """activation: "sigmoid" or "identity", of the labels; an item may ask for what was before it."""

    def __init__(self, *, classifier: Classifier, activation: str) -> None:
        self.classifier, self.activation = classifier, activation

    def __call__(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> list[Vector]:
        """hidden: (t, h); returns (labels,) float32 for each place."""
        layers = self.classifier.layers
        if self.classifier.read == "late":
            logits = mean(apply(layers, hidden), batch.packing)[list(places)]
        else:
            logits = apply(layers, self._read(hidden, batch, items, places))  # (n, labels)
        logits = logits.float()
        raw = logits.cpu().numpy()
        if self.activation != "sigmoid":
            return list(raw)
        scores = zip(raw, logits.sigmoid().cpu().numpy(), places, strict=True)
        return [one if items[place].raw else active for one, active, place in scores]

    def _read(
        self, hidden: Tensor, batch: Batch, items: Sequence[Item], places: Sequence[int]
    ) -> Tensor:
        if self.classifier.read == "mean":
            return mean(hidden, batch.packing)[list(places)]
        starts = offsets(batch.packing)
        last = self.classifier.read == "last"
        return hidden[[starts[p] + (self._last(items[p].ids) if last else 0) for p in places]]

    def _last(self, ids: Sequence[int]) -> int:
        """As transformers: the last token that is no padding, also where an end-of-text token pads."""
        others = (place for place in reversed(range(len(ids))) if ids[place] != self.classifier.pad)
        return next(others, 0)


def classifier(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    """The head of this checkpoint. Raises StartFailed where there is none that is known."""
    for name, made in _KNOWN.items():
        if name.format(base=weights.prefix) in weights:
            return made(weights, config)
    problem = "the weights have no sequence classification head that is known"
    raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; is it a cross-encoder?")


def _first(weights: Checkpoint, hidden: str, activation: str, out: str) -> Classifier:
    layers = (taken(weights, hidden, named(activation)), taken(weights, out))
    return Classifier(read="first", layers=layers)


def _roberta(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    """RoBERTa and its kin, MPNet, ELECTRA."""
    return _first(weights, "classifier.dense", _activation(config), "classifier.out_proj")


def _activation(config: Mapping[str, Any]) -> str:
    """The parameters do not tell it, and another one gives other scores without any error."""
    model_type = str(config.get("model_type"))
    if model_type in _FIXED:
        return _FIXED[model_type]
    if model_type not in _AS_HIDDEN:
        problem = f"config.json has model_type {model_type!r}, whose classification head is unknown"
        known = ", ".join(sorted((*_FIXED, *_AS_HIDDEN)))
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; supported: {known}")
    if "hidden_act" not in config:
        problem = f"config.json has no hidden_act, which the head of a {model_type} takes"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; write it there")
    return str(config["hidden_act"])


def _decoder(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    """The generic one, of decoders."""
    pad = config.get("pad_token_id")
    return Classifier(read="last", layers=(taken(weights, "score"),), pad=pad)


def _distilbert(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    return _first(weights, "pre_classifier", "relu", "classifier")


def _modernbert(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    normed = norm(weights, "head.norm", config.get("norm_eps", 1e-5))
    activation = named(config.get("classifier_activation", "gelu"))
    layers = (taken(weights, "head.dense", activation, normed), taken(weights, "classifier"))
    return Classifier(read=_reading(config, "cls"), layers=layers)


def _eurobert(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    layers = (taken(weights, "dense", functional.gelu), taken(weights, "classifier"))
    return Classifier(read=_reading(config, "late"), layers=layers)


def _reading(config: Mapping[str, Any], default: str) -> Read:
    read: Mapping[str, Read] = {"cls": "first", "bos": "first", "mean": "mean", "late": "late"}
    name = config.get("classifier_pooling", default)
    if name not in read:
        problem = f"config.json has classifier_pooling {name!r}; supported: {', '.join(read)}"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return read[name]


def _deberta(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    return _first(weights, "pooler.dense", config.get("pooler_hidden_act", "gelu"), "classifier")


def _bert(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    """BERT, Nomic's, GTE: the pooler belongs to the base model."""
    return _first(weights, f"{weights.prefix}pooler.dense", "tanh", "classifier")


def _albert(weights: Checkpoint, config: Mapping[str, Any]) -> Classifier:
    return _first(weights, f"{weights.prefix}pooler", "tanh", "classifier")


#: A parameter that only this family's head has -> the head. {base} is what stands before the base model's.
_KNOWN: Mapping[str, Callable[[Checkpoint, Mapping[str, Any]], Classifier]] = {
    "classifier.out_proj.weight": _roberta,
    "score.weight": _decoder,
    "pre_classifier.weight": _distilbert,
    "head.dense.weight": _modernbert,
    "{base}pooler.dense.weight": _bert,
    "{base}pooler.weight": _albert,
    "pooler.dense.weight": _deberta,
    "dense.weight": _eurobert,
}
