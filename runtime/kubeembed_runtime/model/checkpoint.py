"""The weights of a folder by the names of their parameters: safetensors, else pickled; one file or many.

A pickle can carry code. It is read by torch's restricted unpickler, which makes tensors and containers and
refuses everything else; and only where the folder has no safetensors, as BAAI/bge-m3's has not.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

#: Where weights may lie, by rank: a file, or the index of many.
LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)

#: Names of layer norms in checkpoints that were converted from TensorFlow, bert-base-uncased among them.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Pickled:
    """A pickled state dict, as an open safetensors file is read. Its tensors stay on the disk until used."""

    def __init__(self, path: Path) -> None:
        mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are not, and cannot be mapped
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        self._tensors: Mapping[str, Tensor] = tensors

    def __enter__(self) -> "Pickled":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def keys(self) -> Iterable[str]:
        return self._tensors.keys()

    def get_tensor(self, name: str) -> Tensor:
        return self._tensors[name]


class Checkpoint:
    """Open weights. `take` reads one tensor at a time, so that a copy is all that is ever in memory."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        """Raises StartFailed where the folder has no weights, or some that cannot be read."""
        self.dtype, self.device, self._folder = dtype, device, folder
        self._open = ExitStack()
        self._files: dict[str, Any] = {}
        self._stored: dict[str, str] = {}
        self._taken: set[str] = set()
        for file in _files(folder):
            self._read(file)
        self.prefix = _prefix(self._files)

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read(self, file: str) -> None:
        try:
            weights = self._open.enter_context(_opened(self._folder / file))
        except Exception as error:  # OSError, safetensors' own class, pickle's and zip's errors
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
        self._taken.add(full)
        tensor: Tensor = self._files[full].get_tensor(self._stored[full])
        return tensor.to(device=self.device, dtype=self.dtype)

    def __contains__(self, full: str) -> bool:
        return full in self._files

    @property
    def left(self) -> list[str]:
        """The whole names of the parameters that nobody has taken."""
        return [name for name in self._files if name not in self._taken]


def _files(folder: Path) -> list[str]:
    for single, index in LAYOUTS:
        if (folder / index).exists():
            weight_map: Mapping[str, str] = json.loads((folder / index).read_text())["weight_map"]
            return sorted(set(weight_map.values()))
        if (folder / single).exists():
            return [single]
    problem = f"{folder} has neither {' nor '.join(single for single, _ in LAYOUTS)}"
    raise StartFailed(Reason.NO_USABLE_FILES, f"{problem}; publish the weights as safetensors")


def _opened(path: Path) -> Any:
    return Pickled(path) if path.suffix == ".bin" else safe_open(path, framework="pt")


def _prefix(names: Mapping[str, object]) -> str:
    """What stands before `embeddings.`: nothing, or the base model's name ("bert.", "roberta.")."""
    for name in names:
        prefix, found, _ = name.partition("embeddings.word_embeddings.weight")
        if found:
            return prefix
    return ""
