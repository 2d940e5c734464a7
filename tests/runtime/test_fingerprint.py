import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kubeembed_runtime.model.fingerprint import file_hashes, fingerprint

FILES = {"model.safetensors": "11", "config.json": "22"}
RECIPE: dict[str, object] = {"pooling": "cls", "prompts": {"a": "", "b": ""}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_only_what_decides_over_vectors_is_hashed(tmp_path: Path) -> None:
    names = ["2_Dense/model.safetensors", "config.json", "model.safetensors", "sparse_linear.pt"]
    names += ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    (tmp_path / "2_Dense").mkdir()
    for name in (*names, "README.md", "2_Dense/notes.txt", "modules.json"):
        (tmp_path / name).write_text(name)
    assert file_hashes(tmp_path) == {name: sha256(name) for name in names}


def test_the_manifest_saves_the_reading(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("not read")
    (tmp_path / "config.json").write_text("read")
    files = {"model.safetensors": {"size": 8, "sha256": "ab" * 32}}
    (tmp_path / ".kubeembed.json").write_text(json.dumps({"files": files}))
    assert file_hashes(tmp_path) == {"config.json": sha256("read"), "model.safetensors": "ab" * 32}


def test_the_order_of_keys_does_not_matter() -> None:
    turned = {"prompts": {"b": "", "a": ""}, "pooling": "cls"}
    assert fingerprint(FILES, RECIPE, "float32") == fingerprint(FILES, turned, "float32")
    assert len(fingerprint(FILES, RECIPE, "float32")) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"files": {**FILES, "config.json": "23"}},
        {"recipe": {**RECIPE, "pooling": "mean"}},
        {"dtype": "bfloat16"},
    ],
    ids=["weights", "recipe", "precision"],
)
def test_whatever_changes_vectors_changes_it(change: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"files": FILES, "recipe": RECIPE, "dtype": "float32"}
    assert fingerprint(**usual) != fingerprint(**{**usual, **change})
