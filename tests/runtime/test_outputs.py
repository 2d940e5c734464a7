"""From text to every kind of output, with nothing told but the folder that a library saved."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import (
    CrossEncoder,
    MultiVectorEncoder,
    SentenceTransformer,
    SparseEncoder,
)
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

from kubeembed_api.document import parse
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.items import items
from kubeembed_runtime.maxsim import maxsim
from kubeembed_runtime.model import encoder as encoders
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import EncodeRequest, Input, Kind, Output, Pair, Side
from kubeembed_runtime.tokens import Framing
from modelkit import saved
from runtimekit import splade_folder

Document = Callable[..., dict[str, Any]]

TEXTS = (
    "wing flutter",
    "aircraft wing flutter at high speed",
    "the, search; engine! ranks (passages) by meaning, rather than by words.",
    "a",
    "naïve café über 語",
)
SHAPE: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
DISTILBERT: dict[str, Any] = {
    "vocab_size": 30522,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Served:
    """What a document of ours makes of a folder."""

    encoder: encoders.Encoder
    tokenizer: Tokenizer

    def __call__(
        self,
        inputs: Sequence[Input],
        kind: Kind,
        side: Side | None = None,
        prompt: str = "",
        request: EncodeRequest | None = None,
    ) -> list[Any]:
        framing = Framing(prompt, side)
        asked = items(self.tokenizer(inputs, framing), framing, (kind,), None, request)
        return [getattr(output, kind) for output in self.encoder(asked)]


@pytest.fixture
def serve(document: Document) -> Callable[..., Served]:
    def load(folder: Path, **recipe: Any) -> Served:
        encoder = encoders.load(folder, parse(document(folder, **recipe)), 1)
        return Served(encoder, Tokenizer.of(folder, encoder.recipe))

    return load


@pytest.fixture
def save(minilm: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """A model with weights that make a difference, and the vocabulary of a real one beside it."""

    def write(model: Any) -> Path:
        saved(model, tmp_path / "base")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(minilm / file, tmp_path / "base")
        return tmp_path / "base"

    return write


def assert_close(ours: Sequence[Any], theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=2e-5)


def assert_sparse(ours: Sequence[Any], theirs: Any, atol: float = 2e-5) -> None:
    for one, other in zip(ours, theirs, strict=True):
        whole = np.zeros(len(other), dtype=np.float32)
        whole[one.indices] = one.values
        np.testing.assert_allclose(whole, other.to_dense().cpu(), atol=atol)


def test_a_sentence_transformer_with_a_dense_module(serve: Any, save: Any, tmp_path: Path) -> None:
    """As LaBSE is made."""
    base = save(hf.BertModel(hf.BertConfig(**SHAPE)))
    modules = [Transformer(str(base)), Pooling(32, "cls"), Dense(32, 24), Normalize()]
    theirs = SentenceTransformer(modules=modules, device="cpu")
    theirs.save(str(tmp_path / "whole"))
    ours = serve(tmp_path / "whole")
    assert_close(ours(TEXTS, "dense"), theirs.encode(list(TEXTS)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: hf.BertForMaskedLM(hf.BertConfig(**SHAPE)),
        lambda: hf.DistilBertForMaskedLM(hf.DistilBertConfig(**DISTILBERT)),
    ],
    ids=["bert", "distilbert"],
)
def test_a_sparse_encoder(make: Any, serve: Any, save: Any, tmp_path: Path) -> None:
    modules = [Transformer(str(save(make())), transformer_task="fill-mask"), SpladePooling("max")]
    theirs = SparseEncoder(modules=modules, device="cpu")
    theirs.save(str(tmp_path / "whole"))
    ours = serve(tmp_path / "whole")
    assert_sparse(ours(TEXTS, "sparse"), theirs.encode(list(TEXTS)))


def test_a_real_splade_model(serve: Any) -> None:
    """As it was trained; the document tells what its files do not."""
    folder = splade_folder()
    modules = [Transformer(str(folder), transformer_task="fill-mask"), SpladePooling("max")]
    theirs = SparseEncoder(modules=modules, device="cpu")
    choose, words = random.Random(5), " ".join(TEXTS).split()
    texts = [*TEXTS, *(" ".join(choose.choices(words, k=k)) for k in (2, 9, 30, 80, 900))]
    ours = serve(folder, outputs=["sparse"])
    found = ours(texts, "sparse")
    assert_sparse(found, theirs.encode(texts), atol=1e-5)
    heaviest = found[1].indices[found[1].values.argmax()]
    assert (heaviest, len(found[1].indices)) == (ours.tokenizer.ids(["flutter"])[0], 13)


def test_a_sparse_encoder_of_documents_alone(serve: Any, save: Any) -> None:
    """As OpenSearch publishes them: the query's way is a table, the document's begins at the top."""
    folder = save(hf.DistilBertForMaskedLM(hf.DistilBertConfig(**DISTILBERT)))
    torch.manual_seed(2)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    table = SparseStaticEmbedding(tokenizer=tokenizer, weight=torch.rand(30522))
    table.save(str(folder / "query_0_SparseStaticEmbedding"))
    (folder / "document_1_SpladePooling").mkdir()
    SpladePooling("max").save(str(folder / "document_1_SpladePooling"))
    models = "sentence_transformers.sparse_encoder.models"
    routes = {
        "types": {
            "query_0_SparseStaticEmbedding": f"{models}.SparseStaticEmbedding",
            "": f"{models}.MLMTransformer",
            "document_1_SpladePooling": f"{models}.SpladePooling",
        },
        "structure": {
            "query": ["query_0_SparseStaticEmbedding"],
            "document": ["", "document_1_SpladePooling"],
        },
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    (folder / "router_config.json").write_text(json.dumps(routes))
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    (folder / "modules.json").write_text(json.dumps([router]))
    told = {"model_type": "SparseEncoder"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(told))
    theirs, ours = SparseEncoder(str(folder), device="cpu"), serve(folder)
    assert_sparse(ours(TEXTS, "sparse", "query"), theirs.encode_query(list(TEXTS)))
    assert_sparse(ours(TEXTS, "sparse", "document"), theirs.encode_document(list(TEXTS)))
    assert_sparse(ours(TEXTS, "sparse"), theirs.encode(list(TEXTS)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: hf.BertForSequenceClassification(hf.BertConfig(**SHAPE, num_labels=1)),
        lambda: hf.ModernBertForSequenceClassification(
            hf.ModernBertConfig(**SHAPE, num_labels=1, classifier_pooling="mean", local_attention=8)
        ),
    ],
    ids=["bert", "modernbert"],
)
def test_a_cross_encoder(make: Any, serve: Any, save: Any, tmp_path: Path) -> None:
    theirs = CrossEncoder(str(save(make())), device="cpu", max_length=64)
    theirs.save_pretrained(str(tmp_path / "whole"))
    pairs = [(one, other) for one in TEXTS[:2] for other in TEXTS]
    ours = serve(tmp_path / "whole")
    wanted = theirs.predict(pairs)[:, None]
    asked = [Pair(*pair) for pair in pairs]
    assert_close(ours(asked, "score"), wanted)
    raw = theirs.predict(pairs, activation_fn=torch.nn.Identity())[:, None]
    request = EncodeRequest(inputs=asked, outputs=("score",), raw=True)
    assert_close(ours(asked, "score", request=request), raw)


@pytest.mark.parametrize("attend", [False, True], ids=["unseen masks", "seen masks"])
def test_a_multi_vector_encoder(attend: bool, serve: Any, save: Any, tmp_path: Path) -> None:
    base = save(hf.BertModel(hf.BertConfig(**SHAPE)))
    expansion = {"strategy": "fixed", "attend": attend, "length": 32}
    modules = [
        Transformer(str(base), query_expansion=expansion, document_length=16),
        Dense(32, 24, bias=False, module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=[",", ";", "!", "(", ")", "."]),
        Normalize(module_input_name="token_embeddings"),
    ]
    theirs = MultiVectorEncoder(modules=modules, device="cpu")
    theirs.save(str(tmp_path / "whole"))
    ours = serve(tmp_path / "whole")
    queries, documents = (ours(TEXTS, "multivector", side) for side in ("query", "document"))
    their_queries = theirs.encode_query(list(TEXTS))
    their_documents = theirs.encode_document(list(TEXTS))
    assert_close(queries, their_queries)
    assert_close(documents, their_documents)
    for query, wanted in zip(
        queries, theirs.similarity(their_queries, their_documents), strict=True
    ):
        np.testing.assert_allclose(maxsim(query, documents), wanted, rtol=1e-4)


def test_the_outputs_of_an_item_are_those_it_asks_for(serve: Any, minilm: Path) -> None:
    ours = serve(minilm)
    framing = Framing()
    (output,) = ours.encoder(items(ours.tokenizer(["a"], framing), framing, ("dense",), None))
    assert output == Output(dense=output.dense)


def test_token_states_and_vectors_of_their_own_length(serve: Any, minilm: Path) -> None:
    theirs = SentenceTransformer(str(minilm), device="cpu")
    ours = serve(minilm)
    texts = list(TEXTS)
    states = ours(texts, "tokens")
    for found, wanted in zip(
        states, theirs.encode(texts, output_value="token_embeddings"), strict=True
    ):
        np.testing.assert_allclose(found, wanted[: len(found)], atol=2e-5)
    whole = EncodeRequest(inputs=texts, normalize=False)
    vectors = ours(texts, "dense", request=whole)
    assert_close(vectors, np.stack([found.mean(0) for found in states]))
    assert not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.01)


def test_the_tokens_of_a_text_and_back(serve: Any, minilm: Path) -> None:
    vocabulary = serve(minilm).tokenizer.vocabulary
    (tokens,) = vocabulary.tokens(["naïve Flutter"], special=True, prompt="a: ")
    assert [token.text for token in tokens] == ["[CLS]", "a", ":", "naïve", "Flutter", "[SEP]"]
    assert [token.special for token in tokens] == [True, *[False] * 4, True]
    assert [(token.start, token.stop) for token in tokens[3:]] == [(3, 9), (10, 17), (None, None)]
    ids = [token.id for token in tokens]
    assert vocabulary.decode([ids], skip_special=True) == ["a : naive flutter"]
    with pytest.raises(InvalidInput, match="input 0 has token id 30522; ids are between 0 and"):
        vocabulary.decode([[30522]], skip_special=False)
