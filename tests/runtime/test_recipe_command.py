"""`kubeembed-runtime recipe`, as users run it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeembed_runtime.__main__ import main
from kubeembed_runtime.model.catalogue import entries

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """(*arguments) -> what is printed; a cache of its own."""

    def run(*arguments: object) -> str:
        cache = ["--cache", str(tmp_path / "cache")]
        assert main(["recipe", *map(str, arguments), *cache]) == 0
        return capsys.readouterr().out

    return run


def test_a_folder_tells_its_recipe_line_by_line(printed: Callable[..., str], minilm: Path) -> None:
    out = printed(minilm)
    assert out.splitlines()[1:6] == [
        f"# files: {minilm}",
        "# catalogue: not in it",
        'outputs: ["dense"]        # modules.json',
        "pooling: mean             # 1_Pooling/config.json",
        "normalize: true           # modules.json",
    ]


def test_an_id_is_told_by_the_catalogue_alone_and_says_so(
    printed: Callable[..., str],
) -> None:
    out = printed("intfloat/multilingual-e5-large-instruct")
    assert "# files: none, neither given nor in " in out
    assert "# catalogue: model card; SIE 0.10.1 has a backslash and an n for the newline" in out
    recipe = yaml.safe_load(out)
    assert recipe["instruction"] == "Instruct: {instruction}\nQuery: "
    assert recipe["queryPrompt"] == f"Instruct: {WEB_SEARCH}\nQuery: "
    assert (recipe["pooling"], recipe["maxTokens"]) == ("mean", 512)


def test_an_id_with_a_folder_is_told_by_both(printed: Callable[..., str], minilm: Path) -> None:
    out = printed("intfloat/e5-small-v2", "--folder", minilm)
    assert "pooling: mean" in out
    assert "# 1_Pooling/config.json" in out
    prompts = '{"query": "query: ", "document": "passage: "}'
    assert f"prompts: {prompts}" in out


def test_a_document_is_told_with_its_overrides(
    printed: Callable[..., str],
    minilm: Path,
    tmp_path: Path,
    document: Callable[..., dict[str, Any]],
) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(yaml.safe_dump(document(minilm, pooling="cls", truncation="left")))
    out = printed(file)
    assert "pooling: cls              # spec.recipe.pooling" in out
    assert "truncation: left          # spec.recipe.truncation" in out


def test_what_was_fetched_before_is_read_from_the_cache(
    printed: Callable[..., str], tmp_path: Path
) -> None:
    copy = tmp_path / "cache" / "0123"
    copy.mkdir(parents=True)
    config = {"model_type": "bert", "hidden_size": 384, "max_position_embeddings": 77}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / ".kubeembed.json").write_text(json.dumps({"source": "hf://thenlper/gte-small"}))
    out = printed("thenlper/gte-small")
    assert f"# files: {copy}" in out
    assert yaml.safe_load(out)["maxTokens"] == 77


def test_every_recipe_of_the_catalogue_is_printed_as_yaml(printed: Callable[..., str]) -> None:
    kinds: set[str] = set()
    for entry in entries().values():
        kinds.add(str(entry["outputs"]))
        assert yaml.safe_load(printed(entry["id"]))["outputs"] == entry["outputs"]
    assert len(kinds) == 5  # dense, sparse, multivector, score, and all of BGE-M3's


def test_the_documentation_shows_what_is_printed(printed: Callable[..., str], minilm: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    out = printed("sentence-transformers/all-MiniLM-L6-v2", "--folder", minilm)
    assert out.replace(str(minilm), "models/all-MiniLM-L6-v2") in page


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("acme/mine", "hf://acme/mine is not in the catalogue; give the folder of its files"),
        ("mine", "'mine' is no folder, no document and no ORG/NAME"),
    ],
)
def test_what_is_no_model_is_refused(
    capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    assert main(["recipe", what]) == 1
    assert said in capsys.readouterr().err


def test_the_command_needs_no_torch(minilm: Path) -> None:
    code = (
        "import sys; from kubeembed_runtime.__main__ import main;"
        "main(['recipe', sys.argv[1]]); assert not {'torch', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(minilm)], check=True, capture_output=True)


def test_an_ignored_end_of_texts_is_told_where_the_recipe_is_read(
    printed: Callable[..., str], tmp_path: Path
) -> None:
    config = {"model_type": "llama", "hidden_size": 8, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_eos_token": True}))
    pooling = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(pooling))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "lasttoken"}))
    [line] = [line for line in printed(tmp_path).splitlines() if line.startswith("appendEos")]
    assert line.startswith("appendEos: false")
    assert "# tokenizer_config.json, add_eos_token counts no more: tokenizer.json ends" in line
