"""The main job: one document becomes an embedding service with the right vectors."""

import json
import random
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nodekit import Kube

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WORDS = [
    *(
        "the",
        "quick",
        "brown",
        "fox",
        "Straße",
        "naïve",
        "東京",
        "タワー",
        "привет",
        "мир",
        "مرحبا",
    ),
    *(
        "שלום",
        "🙂",
        "🏳️\u200d🌈",
        "e=mc²",
        "def",
        "main():",
        "SELECT",
        "*",
        "FROM",
        "t;",
        "\t",
        "\n",
    ),
    *("kubectl", "ünïcödé", "antidisestablishmentarianism", "12345", "0x1F"),
]


def varied_texts(count: int) -> list[str]:
    """One token to 5,000 words, emoji, mixed scripts, white space; the same at every run."""
    source = random.Random(0)
    fixed = ["a", " ", "\n\t", "🙂", "   padded   ", "word " * 5000, "東京" * 900]
    lengths = [source.choice((1, 2, 3, 5, 8, 13, 40, 120, 400)) for _ in range(count - len(fixed))]
    return fixed + [" ".join(source.choices(WORDS, k=n)) for n in lengths]


def embed(endpoint: str, texts: list[str], **options: Any) -> np.ndarray:
    """(n, d), in the order of the texts."""
    body = json.dumps({"model": "minilm", "input": texts, **options}).encode()
    request = urllib.request.Request(
        f"{endpoint}/v1/embeddings", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return np.array([item["embedding"] for item in json.load(answer)["data"]])


def batches(texts: list[str]) -> Iterator[list[int]]:
    """Places of texts in batches of every size from 1 to 64: all texts once, short ones again."""
    places = [*range(len(texts)), *(n for n, text in enumerate(texts) if len(text) < 100)] * 9
    start = 0
    for size in range(1, 65):
        yield places[start : start + size]
        start += size


@pytest.fixture(scope="module")
def served(shared_kube: Kube) -> tuple[Kube, dict[str, Any]]:
    """examples/minilm.yaml applied to a namespace of its own, in the precision that is compared, Ready."""
    example = yaml.safe_load(Path("examples/minilm.yaml").read_text())
    shared_kube.apply(example | {"spec": example["spec"] | {"recipe": {"dtype": "float32"}}})
    return shared_kube, shared_kube.wait_served("minilm")


def cluster_ip(kube: Kube) -> str:
    return kube.address("minilm")


def test_the_vectors_are_those_of_sentence_transformers(
    served: tuple[Kube, dict[str, Any]], weights: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    texts = varied_texts(500)
    expected = SentenceTransformer(str(weights), device="cpu").encode(texts, batch_size=8)
    endpoint, seen = cluster_ip(served[0]), set()
    for places in batches(texts):
        got = embed(endpoint, [texts[place] for place in places])
        assert np.einsum("nd,nd->n", expected[places], got).min() >= 0.99999, len(places)
        seen.update(places)
    assert seen == set(range(500))


def test_a_vector_does_not_depend_on_its_batch(served: tuple[Kube, dict[str, Any]]) -> None:
    endpoint = cluster_ip(served[0])
    texts = varied_texts(64)
    alone = np.concatenate([embed(endpoint, [text]) for text in texts])
    together = embed(endpoint, texts)
    assert np.einsum("nd,nd->n", alone, together).min() >= 0.99999


def test_status_tells_what_is_served(served: tuple[Kube, dict[str, Any]]) -> None:
    kube, model = served
    status = model["status"]
    assert status["endpoint"] == f"http://minilm.{kube.namespace}.svc"
    assert status["model"]["dimensions"] == 384
    assert status["model"]["maxTokens"] == 256
    assert len(status["model"]["revision"]) == 40
    assert len(status["model"]["fingerprint"]) >= 16
    assert status["weights"]["bytes"] > 90_000_000
    assert status["replicas"] == {"desired": 1, "ready": 1, "summary": "1/1"}
    assert status["observedGeneration"] == 1
    assert "finalizers" not in model["metadata"]
    assert "kopf" not in str(model["metadata"].get("annotations"))


def test_kubectl_get_says_it_in_a_line(served: tuple[Kube, dict[str, Any]]) -> None:
    heads, row = served[0].ctl("get", "em").splitlines()
    assert heads.split() == (
        ["NAME", "READY", "REASON", "DIM", "REPLICAS", "WEIGHTS", "ADAPTERS", "ENDPOINT", "AGE"]
    )
    assert row.split()[:5] == ["minilm", "True", "Ready", "384", "1/1"]


def test_an_unknown_adapter_is_an_error_and_never_base_vectors(
    served: tuple[Kube, dict[str, Any]],
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        embed(cluster_ip(served[0]), ["x"], model="minilm:legal")
    assert refused.value.code == 404
    assert "minilm" in refused.value.read().decode()


def test_it_takes_at_most_thirteen_writes(
    served: tuple[Kube, dict[str, Any]], writes: Callable[[str], list[str]]
) -> None:
    found = writes(served[0].namespace)
    assert 0 < len(found) <= 13, found  # one of them notes the new key on the claim


def test_pods_hold_no_credentials_and_no_token(served: tuple[Kube, dict[str, Any]]) -> None:
    for pod in served[0].list("pods"):
        assert pod["spec"]["automountServiceAccountToken"] is False
        volumes = pod["spec"].get("volumes", ())
        parts = [part for v in volumes for part in (v.get("projected") or {}).get("sources", ())]
        assert not [v for v in volumes if "secret" in v]
        assert not [part for part in parts if "secret" in part or "serviceAccountToken" in part]
