"""The document as typed values: what is accepted, what is refused, what the pod gets to read."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeembed_api.document import EmbeddingModel, Resolved, dump, parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.keys import weights_key
from kubeembed_api.sources import parse_source

WRONG = yaml.safe_load(Path(__file__).with_name("wrong_documents.yaml").read_text())


def document(spec: dict[str, Any], name: str = "minilm") -> dict[str, Any]:
    return {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": name, "namespace": "search", "uid": "u", "generation": 3},
        "spec": spec,
    }


def minilm(**spec: Any) -> EmbeddingModel:
    return parse(document({"model": {"source": "hf://acme/minilm"}, **spec}))


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_document_is_refused_by_its_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec"):
        parse(document(wrong["spec"]))


def test_an_unknown_field_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpec) as refused:
        minilm(scaling={"target": {"utilisation": 70}})
    assert str(refused.value) == (
        "spec.scaling.target.utilisation: unknown field; allowed here: queueSeconds, utilization"
    )


def test_another_kind_is_refused_by_name() -> None:
    with pytest.raises(InvalidSpec, match=r"found v1 ConfigMap; write kubeembed\.dev"):
        parse({"apiVersion": "v1", "kind": "ConfigMap"})


def test_defaults_are_applied_once_on_parsing() -> None:
    model = minilm()
    assert (model.spec.scaling.min, model.spec.scaling.max) == (1, 1)
    assert model.spec.weights.cache == "Shared"
    assert model.spec.resources.count == 1
    assert model.resolved == Resolved()


def test_the_resolved_document_has_what_the_pod_needs_and_no_credentials() -> None:
    model = minilm(scaling={"min": 2, "max": 2}).model_copy(
        update={"resolved": Resolved(revision="c" * 40, key="k" * 32)}
    )
    model.spec.model.model_copy(update={"credentials_secret": "token"})
    assert dump(model) == {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm", "namespace": "search"},
        "spec": {
            "model": {"source": "hf://acme/minilm", "trustRemoteCode": False},
            "recipe": {"dtype": "auto"},
            "adapterOptions": {"maxLoaded": 64},
        },
        "status": {"model": {"revision": "c" * 40}, "weights": {"key": "k" * 32}},
    }
    assert parse(dump(model)).resolved == model.resolved


def test_a_secret_is_not_named_in_the_pod() -> None:
    model = parse(document({"model": {"source": "hf://a/b", "credentialsSecret": "token"}}))
    assert "token" not in str(dump(model))


@pytest.mark.parametrize(
    ("uri", "host", "path"),
    [
        ("hf://BAAI/bge-m3", "BAAI/bge-m3", ""),
        ("hf://bert-base-uncased", "bert-base-uncased", ""),
        ("pvc://models/bge/m3/", "models", "bge/m3"),
        ("s3://bucket/a/b", "bucket", "a/b"),
        ("file:///srv/model", "", "srv/model"),
    ],
)
def test_a_source_has_a_host_and_a_path(uri: str, host: str, path: str) -> None:
    source = parse_source(uri)
    assert (source.host, source.path) == (host, path)
    assert str(source) == uri.rstrip("/")


def test_one_source_and_commit_have_one_key() -> None:
    source = parse_source("hf://acme/minilm")
    assert weights_key(source, "a" * 40) == weights_key(source, "a" * 40)
    assert weights_key(source, "a" * 40) != weights_key(source, "b" * 40)
    assert weights_key(source, "a" * 40) != weights_key(source, "a" * 40, ("*.bin",))
