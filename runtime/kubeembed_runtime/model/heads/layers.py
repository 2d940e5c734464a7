"""What heads are made of: a dense layer with its activation and norm, and where its weights lie.

Heads come as parameters of the checkpoint, as folders of sentence-transformers' Dense modules, or as a state
dict beside the weights. The last two are often pickled; torch then reads tensors and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.files import read_json
from kubeembed_runtime.model.products import ACTIVATIONS

Activation = Callable[[Tensor], Tensor]

#: Activations by the names that config.json has for them.
NAMED: Mapping[str, Activation] = {**ACTIVATIONS, "tanh": torch.tanh, "sigmoid": torch.sigmoid}

#: Activations of Dense modules, by the last part of the class that their config.json names.
_CLASSES: Mapping[str, Activation | None] = {
    "Identity": None,
    "Tanh": torch.tanh,
    "ReLU": functional.relu,
    "GELU": functional.gelu,
    "SiLU": functional.silu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Layer normalisation over the last dimension. weight, bias: (out,)."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """x W' + b, then the activation, then the norm. weight: (out, in); bias: (out,).

    shortcut: (out, in), what carries x past the layer to be added to its output; an identity is None's.
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation | None = None
    norm: Norm | None = None
    residual: bool = False
    shortcut: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """x: (n, in); returns (n, out)."""
        y = functional.linear(x, self.weight, self.bias)
        if self.activation is not None:
            y = self.activation(y)
        if self.norm is not None:
            y = functional.layer_norm(
                y, y.shape[-1:], self.norm.weight, self.norm.bias, self.norm.epsilon
            )
        if self.residual:
            y = y + (x if self.shortcut is None else functional.linear(x, self.shortcut))
        return y


def apply(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """The layers one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def named(name: str) -> Activation:
    """The activation of that name. Raises StartFailed."""
    if name not in NAMED:
        problem = f"config.json has the activation {name!r}; supported: {', '.join(NAMED)}"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return NAMED[name]


def taken(
    weights: Checkpoint, name: str, activation: Activation | None = None, norm: Norm | None = None
) -> Layer:
    """The layer whose parameters are `name`.weight and, if there is one, `name`.bias."""
    return Layer(
        weight=weights.whole(f"{name}.weight"),
        bias=optional(weights, f"{name}.bias"),
        activation=activation,
        norm=norm,
    )


def norm(weights: Checkpoint, name: str, epsilon: float) -> Norm:
    return Norm(
        weight=weights.whole(f"{name}.weight"),
        bias=optional(weights, f"{name}.bias"),
        epsilon=epsilon,
    )


def optional(weights: Checkpoint, name: str) -> Tensor | None:
    return weights.whole(name) if name in weights else None


def module(folder: Path, dtype: torch.dtype, device: torch.device) -> Layer:
    """sentence-transformers' Dense module in `folder`. Raises StartFailed."""
    config, file = read_json(folder / "config.json"), weights_file(folder)
    tensors = {name: tensor.to(device=device, dtype=dtype) for name, tensor in stored(file).items()}
    if "linear.weight" not in tensors:
        problem = f"{file} has {', '.join(sorted(tensors))}; needed: linear.weight"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
    return Layer(
        weight=tensors["linear.weight"],
        bias=tensors.get("linear.bias"),
        activation=_class(config.get("activation_function", "Tanh"), folder),
        residual=bool(config.get("use_residual", False)),
        shortcut=tensors.get("residual.weight"),
    )


def weights_file(folder: Path) -> Path:
    """The weights of a module. Raises StartFailed."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return folder / name
    problem = f"{folder} has neither model.safetensors nor pytorch_model.bin"
    raise StartFailed(Reason.NO_USABLE_FILES, problem)


def _class(path: str, folder: Path) -> Activation | None:
    name = path.rpartition(".")[2]
    if name not in _CLASSES or not path.startswith(("torch.", "Tanh")):
        problem = f"{folder / 'config.json'} has activation_function {path!r}"
        known = ", ".join(f"torch.nn.{known}" for known in _CLASSES)
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; supported: {known}")
    return _CLASSES[name]


def stored(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file or of a pickled state dict. Raises StartFailed.

    weights_only: the unpickler then knows tensors and containers, and refuses everything else.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # OSError, safetensors' own class, pickle's and zip's errors
        raise StartFailed(Reason.NO_USABLE_FILES, f"{file} cannot be read: {error}") from error
    return tensors
