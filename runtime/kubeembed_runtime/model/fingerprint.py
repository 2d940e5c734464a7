"""What makes two vectors comparable, as one hash: weights, tokenizer, recipe, precision.

Two pods with one fingerprint answer alike. Where the fetch left a manifest its checksums are taken; else the
files are read, while torch is being imported.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

MANIFEST = ".kubeembed.json"

#: Files that decide over vectors: weights, of heads too, and some by name. Those that only the recipe is read
#: from count by what it says.
WEIGHTS = (".safetensors", ".bin", ".pt")
NAMES = (
    "added_tokens.json",
    "config.json",
    "idf.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file that decides over the vectors, by path: of the model, and of its modules."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in (*folder.iterdir(), *folder.glob("*[0-9]_*/*"))
        if path.suffix in WEIGHTS or path.name in NAMES
    )
    known = _manifest(folder)
    return {name: known.get(name) or _sha256(folder / name) for name in names}


def fingerprint(files: Mapping[str, str], recipe: Mapping[str, object], dtype: str) -> str:
    """32 hex digits."""
    told = json.dumps({"files": files, "recipe": recipe, "dtype": dtype}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def adapted(base: str, adapter: str) -> str:
    """The fingerprint of an adapter's vectors, of the base's and a hash of the adapter's files."""
    return hashlib.sha256(f"{base} {adapter}".encode()).hexdigest()[:32]


def _manifest(folder: Path) -> dict[str, str]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return {}
    return {name: entry["sha256"] for name, entry in manifest["files"].items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
