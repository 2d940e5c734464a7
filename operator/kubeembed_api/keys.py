"""The name of a copy of weights in the cache: a hash of what it holds.

Two models with one source, revision and file selection have one key, and so one copy.
"""

import hashlib
import json
import re
from typing import Any

from kubeembed_api.sources import Source

KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")

#: Raised when a change of ours makes old copies unusable, so that they are fetched anew.
LAYOUT = 1

#: The files of a base model that are fetched: only what is loaded. Folders are modules of
#: sentence-transformers; BGE-M3 has its heads in two .pt files.
MODEL_FILES: tuple[str, ...] = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.safetensors",
    "artifact.metadata",  # how stanford's ColBERT dresses its texts
    "colbert_linear.pt",
    "sparse_linear.pt",
    "[0-9]_*/*.json",
    "[0-9]_*/*.safetensors",
    "document_[0-9]_*/*.json",
    "query_[0-9]_*/*.json",
    "query_[0-9]_*/*.safetensors",
)

#: Pickled weights, fetched where their folder has no safetensors. Nothing but tensors is read from them.
PICKLED_FILES: tuple[str, ...] = (
    "pytorch_model.bin",
    "pytorch_model-*.bin",
    "[0-9]_*/pytorch_model.bin",
)

#: The files of an adapter, as PEFT saves it.
ADAPTER_FILES: tuple[str, ...] = ("adapter_config.json", "adapter_model.safetensors")


def weights_key(
    source: Source, commit: str, files: tuple[str, ...] = MODEL_FILES + PICKLED_FILES
) -> str:
    """32 hex digits. `commit` is the resolved revision ('' where the source has none)."""
    told = "\n".join((str(LAYOUT), str(source), commit, *sorted(files)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def keys_in(*told: Any) -> list[str]:
    """Whatever looks like a key in values of JSON."""
    return KEY.findall(json.dumps(told))
