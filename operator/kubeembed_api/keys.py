"""The name of a copy of weights in the cache: a hash of what it holds.

Two models with one source, revision and file selection have one key, and so one copy.
"""

import hashlib

from kubeembed_api.sources import Source

#: Raised when a change of ours makes old copies unusable, so that they are fetched anew.
LAYOUT = 1

#: The files of a base model that are fetched: only what is loaded. safetensors over .bin, .onnx, .h5.
MODEL_FILES: tuple[str, ...] = (
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.safetensors",
    "1_*/*.json",
    "2_*/*.json",
    "2_*/*.safetensors",
    "3_*/*.json",
    "3_*/*.safetensors",
)


def weights_key(source: Source, commit: str, files: tuple[str, ...] = MODEL_FILES) -> str:
    """32 hex digits. `commit` is the resolved revision ('' where the source has none)."""
    told = "\n".join((str(LAYOUT), str(source), commit, *sorted(files)))
    return hashlib.sha256(told.encode()).hexdigest()[:32]
