"""What makes two vectors comparable, as one hash: weights, tokenizer, recipe, precision.

Two pods with one fingerprint answer alike. Where the fetch left a manifest its checksums are taken; else the
files are read, while torch is being imported.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

MANIFEST = ".kubeembed.json"


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file that decides over the vectors, by name."""
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix == ".safetensors" or path.name in ("config.json", "tokenizer.json")
    )
    known = _manifest(folder)
    return {name: known.get(name) or _sha256(folder / name) for name in names}


def fingerprint(files: Mapping[str, str], recipe: Mapping[str, object], dtype: str) -> str:
    """32 hex digits."""
    told = json.dumps({"files": files, "recipe": recipe, "dtype": dtype}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _manifest(folder: Path) -> dict[str, str]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return {}
    return {name: entry["sha256"] for name, entry in manifest["files"].items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
