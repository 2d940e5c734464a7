"""Unmodified clients against the real runtime: vectors are sentence-transformers', scores CrossEncoder's."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf
from sentence_transformers import CrossEncoder, SentenceTransformer

from clientkit import QUIET, python, tour
from modelkit import saved
from runtimekit import Process, document, launch

TEXTS = [
    "The wing flutters at high speed.",
    "A search engine ranks passages by meaning.",
    "Water boils at a hundred degrees.",
    "naïve café über 語",
    "Sleep.",
]
DOCS = Path(__file__).parents[2] / "docs" / "clients"
QUERY = "At what temperature does water boil?"
SHAPE = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "num_labels": 1,
}


@pytest.fixture(scope="module")
def cross_encoder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    """Of random weights, with the vocabulary of a real model; saved in its name's folder."""
    folder = tmp_path_factory.mktemp("reranker")
    saved(hf.BertForSequenceClassification(hf.BertConfig(**SHAPE)), folder / "base")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm / file, folder / "base")
    made = CrossEncoder(str(folder / "base"), device="cpu", max_length=64)
    made.save_pretrained(str(folder / "whole"))
    made.folder = folder / "whole"
    return made


@pytest.fixture(scope="module")
def reranker(
    cross_encoder: CrossEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    exact = document(cross_encoder.folder, "reranker", dtype="float32")
    process = launch(tmp_path_factory.mktemp("reranking"), exact)
    yield process.until_ready()
    process.end()


@pytest.fixture(scope="module")
def reference(
    minilm: Path, cross_encoder: CrossEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The file that tours compare with."""
    vectors = SentenceTransformer(str(minilm), device="cpu").encode(TEXTS)
    pairs = [(QUERY, text) for text in TEXTS]
    scores = cross_encoder.predict(pairs, activation_fn=torch.nn.Sigmoid())
    file = tmp_path_factory.mktemp("reference") / "reference.json"
    told = {
        "texts": TEXTS,
        "vectors": vectors.tolist(),
        "query": QUERY,
        "scores": scores.tolist(),
    }
    file.write_text(json.dumps(told))
    return file


@pytest.mark.parametrize(
    ("environment", "script"),
    [
        ("http", "openai_tour"),
        ("http", "cohere_tour"),
        ("http", "hub_tour"),
        ("http", "langchain_tour"),
        ("frameworks", "llamaindex_tour"),
        ("frameworks", "haystack_tour"),
    ],
)
def test_a_client_gets_what_the_references_give(
    environment: str, script: str, serving: Process, reranker: Process, reference: Path
) -> None:
    tour(environment, script, serving.url, reranker.url, str(reference))


def test_clients_read_each_failure_and_come_again(
    failing: str, minilm: Path, tmp_path: Path
) -> None:
    starting = launch(tmp_path, document(minilm))
    try:
        said = tour("http", "failures_tour", failing, starting.url)
    finally:
        starting.end()
    assert "503" in said, said


@pytest.mark.parametrize("name", ["cohere", "openai", "rerank", "tei"])
def test_what_the_documentation_shows_runs(name: str, serving: Process, reranker: Process) -> None:
    text = (DOCS / f"{name}.md").read_text()
    url = reranker.url if name == "rerank" else serving.url
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippets
    for snippet in snippets:
        environment = "frameworks" if re.search("haystack|llama_index", snippet) else "http"
        code = snippet.replace("http://localhost:8080", url)
        code = code.replace("http://localhost:8081", reranker.url)
        script = [str(python(environment)), "-c", code]
        subprocess.run(script, check=True, timeout=60, env=os.environ | QUIET)
