"""The weights of a folder by the names of their parameters: one safetensors file or many.

Pickled checkpoints are not read: unpickling runs whatever code they carry.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

#: Names of layer norms in checkpoints that were converted from TensorFlow, bert-base-uncased among them.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Checkpoint:
    """Open weights. `take` reads one tensor at a time, so that a copy is all that is ever in memory."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        """Raises StartFailed where the folder has no safetensors, or one that cannot be read."""
        self.dtype, self.device, self._folder = dtype, device, folder
        self._open = ExitStack()
        self._files: dict[str, Any] = {}
        self._stored: dict[str, str] = {}
        for file in _files(folder):
            self._read(file)
        self.prefix = _prefix(self._files)

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read(self, file: str) -> None:
        try:
            weights = self._open.enter_context(safe_open(self._folder / file, framework="pt"))
        except Exception as error:  # safetensors raises its own class, OSError and ValueError
            problem = f"{self._folder / file} cannot be read: {error}"
            raise StartFailed(Reason.NO_USABLE_FILES, problem) from error
        for stored in weights.keys():  # noqa: SIM118 - not a mapping
            name = stored
            for old, new in _OLD_NAMES.items():
                name = name.replace(old, new)
            self._files[name] = weights
            self._stored[name] = stored

    def take(self, name: str) -> Tensor:
        """A parameter of the base model. Raises StartFailed naming the one that is missing."""
        return self.whole(self.prefix + name)

    def whole(self, full: str) -> Tensor:
        """A parameter by its whole name, as those of heads have it. Raises StartFailed."""
        if full not in self._files:
            problem = (
                f"{self._folder} has no parameter {full!r}; is it an encoder of this model_type?"
            )
            raise StartFailed(Reason.UNSUPPORTED_MODEL, problem)
        tensor: Tensor = self._files[full].get_tensor(self._stored[full])
        return tensor.to(device=self.device, dtype=self.dtype)

    def __contains__(self, full: str) -> bool:
        return full in self._files


def _files(folder: Path) -> list[str]:
    if (folder / INDEX).exists():
        weight_map: Mapping[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        return sorted(set(weight_map.values()))
    if (folder / SINGLE).exists():
        return [SINGLE]
    problem = f"{folder} has no {SINGLE}; publish the weights as safetensors"
    raise StartFailed(Reason.NO_USABLE_FILES, problem)


def _prefix(names: Mapping[str, object]) -> str:
    """What stands before `embeddings.`: nothing, or the base model's name ("bert.", "roberta.")."""
    for name in names:
        prefix, found, _ = name.partition("embeddings.word_embeddings.weight")
        if found:
            return prefix
    return ""
