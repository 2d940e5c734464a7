"""A folder as PEFT leaves it -> the low-rank pairs of an adapter, checked against the base model.

Whatever would change vectors and is not computed here is refused by name: an adapter that is half applied
ruins retrieval without any error. The file is read, not mapped: one that is cut short cannot end the process.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from kubeembed_api.errors import InvalidAdapter
from kubeembed_api.peft_config import CONFIG, PeftConfig, read_config
from kubeembed_api.peft_tensors import WEIGHTS, lora_modules
from kubeembed_runtime.errors import AdapterMissing, AdapterRefused
from kubeembed_runtime.model.lora import Pair, Part, Site

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """An adapter as read. pairs: by the path of the base's layer, float32; digest: sha256 of its files."""

    base: str | None
    pairs: Mapping[str, Pair]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A linear layer of the base that the adapter's file has matrices for. path: the file's name of it."""

    path: str
    part: Part
    inputs: int


def read(folder: Path, sites: Sequence[Site], *, idle: frozenset[str], max_bytes: int) -> Tuned:
    """Raises AdapterRefused.

    idle: last parts of modules that the base has and its vectors do not come from; their matrices are left
    out. max_bytes: of the file.
    """
    if not folder.is_dir():
        raise AdapterMissing(f"{folder} is not there")
    try:
        config, told = read_config(folder)
        content = _content(folder, max_bytes)
        matrices = _matrices(_tensors(content))
    except InvalidAdapter as error:
        raise AdapterRefused(str(error)) from error
    layers = _layers(matrices, sites, idle)
    if not layers:
        raise AdapterRefused(f"{WEIGHTS} changes no layer of the base that its vectors come from")
    _refuse_other_selection(config, layers, sites)
    pairs = {
        layer.part.path: _pair(config, layer, matrices[layer.path]) for layer in layers.values()
    }
    digest = hashlib.sha256(told)
    digest.update(content)
    return Tuned(base=config.base, pairs=pairs, digest=digest.hexdigest())


def _content(folder: Path, max_bytes: int) -> bytes:
    path = folder / WEIGHTS
    try:
        size = path.stat().st_size
        if size > max_bytes:
            problem = f"{WEIGHTS} has {size} bytes; all adapters together may take {max_bytes}"
            raise AdapterRefused(problem)
        return path.read_bytes()
    except FileNotFoundError as error:
        remedy = "save it by PEFT's save_pretrained, which writes safetensors"
        pickled = (folder / "adapter_model.bin").exists()
        found = "adapter_model.bin, which is pickled and never read" if pickled else f"no {WEIGHTS}"
        raise AdapterRefused(f"{folder} has {found}; {remedy}") from error
    except OSError as error:
        raise AdapterRefused(f"{path} cannot be read: {error.strerror}") from error


def _tensors(content: bytes) -> Mapping[str, Tensor]:
    try:
        tensors: Mapping[str, Tensor] = load(content)
    except (SafetensorError, ValueError) as error:
        raise AdapterRefused(f"{WEIGHTS} is not whole: {error}") from error
    return tensors


def _matrices(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """{module: {"A": (r, in), "B": (out, r)}}."""
    return {
        path: {side: tensors[name] for side, name in sides.items()}
        for path, sides in lora_modules(tensors).items()
    }


def _layers(
    matrices: Mapping[str, object], sites: Sequence[Site], idle: frozenset[str]
) -> dict[str, _Layer]:
    """The base's layers that the file has matrices for, by their path in the base."""
    known = {part.path: (part, site.inputs) for site in sites for part in site.parts}
    found: dict[str, _Layer] = {}
    for path in sorted(matrices):
        if not idle.isdisjoint(path.split(".")):
            continue
        own = _own_path(path, known)
        if own is None:
            kinds = sorted({_kind(one) for one in known}) or ["none of its layers can be adapted"]
            problem = f"{WEIGHTS} changes {path}, which is no layer of the base"
            raise AdapterRefused(f"{problem}: {', '.join(kinds)}")
        if own in found:
            raise AdapterRefused(f"{WEIGHTS} has both {found[own].path} and {path} for {own}")
        part, inputs = known[own]
        found[own] = _Layer(path=path, part=part, inputs=inputs)
    return found


def _own_path(path: str, known: Mapping[str, object]) -> str | None:
    """The base's path of a module: the adapter's root may lie above the base's, or below it."""
    names = path.split(".")
    for first in range(len(names)):
        shorter = ".".join(names[first:])
        if shorter in known:
            return shorter
    longer = [one for one in known if one.endswith(f".{path}")]
    return longer[0] if len(longer) == 1 else None


def _kind(path: str) -> str:
    """A layer's name within its block: what stands behind the last number."""
    return re.sub(r".*\.\d+\.", "", path)


def _refuse_other_selection(
    config: PeftConfig, layers: Mapping[str, _Layer], sites: Sequence[Site]
) -> None:
    """The configuration selects exactly the layers that the file has matrices for."""
    for own, layer in layers.items():
        if not (config.selects(layer.path) or config.selects(own)):
            problem = f"{WEIGHTS} changes {layer.path}, which target_modules"
            raise AdapterRefused(f"{problem} of {CONFIG} do not select: {config.selection}")
    roots = {layer.path.removesuffix(own) for own, layer in layers.items()}
    for part in (part for site in sites for part in site.parts):
        wanted = part.path not in layers and any(config.selects(root + part.path) for root in roots)
        if wanted:
            problem = f"{CONFIG} selects {part.path} ({config.selection})"
            raise AdapterRefused(f"{problem}, for which {WEIGHTS} has no matrices")


def _pair(config: PeftConfig, layer: _Layer, matrices: Mapping[str, Tensor]) -> Pair:
    down, up = matrices["A"], matrices["B"]
    rank = config.rank(layer.path)
    wanted = ((rank, layer.inputs), (layer.part.outputs, rank))
    if (tuple(down.shape), tuple(up.shape)) != wanted:
        found = f"lora_A {tuple(down.shape)} and lora_B {tuple(up.shape)}"
        problem = f"{layer.path} has {found}; the base's layer at rank {rank} takes"
        raise AdapterRefused(f"{problem} {wanted[0]} and {wanted[1]}")
    for side, matrix in matrices.items():
        if matrix.dtype not in _DTYPES:
            problem = f"lora_{side} of {layer.path} is {matrix.dtype}"
            raise AdapterRefused(f"{problem}; supported: float32, float16, bfloat16")
        if not bool(torch.isfinite(matrix).all()):
            raise AdapterRefused(f"lora_{side} of {layer.path} has values that are no numbers")
    return Pair(down=down.float().t(), up=up.float().t() * config.scale(layer.path))
