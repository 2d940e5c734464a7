"""From a document to answers, as the contracts ask for them: sides, chunks, long texts, token by token."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kubeembed_api.document import parse
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.loading import load
from kubeembed_runtime.pipeline import Pipeline
from kubeembed_runtime.requests import Chunking, EncodeRequest, Prompting, ScoreRequest

TEXTS = ["hello world", "a query with {text} and {0} in it", "word " * 400, ""]
PROMPTS = {"query": "query: ", "document": "passage: ", "sts": "{x} "}


@pytest.fixture
def serve(document: Callable[..., dict[str, Any]], tmp_path: Path) -> Iterator[Any]:
    """(folder, **recipe) -> a pipeline, as a pod has it."""
    made: list[Pipeline] = []

    def start(folder: Path, **recipe: Any) -> Pipeline:
        made.append(load(parse(document(folder, **recipe)), tmp_path / "cache", 1).pipeline)
        return made[-1]

    yield start
    for one in made:
        one.close()


async def dense(pipeline: Pipeline, texts: list[str], **asked: Any) -> NDArray[np.float32]:
    encoded = await pipeline.encode(EncodeRequest(inputs=texts, **asked))
    return np.stack([out.dense for out in encoded.outputs if out.dense is not None])


async def test_prompts_and_sides_are_those_of_sentence_transformers(
    serve: Any, minilm: Path
) -> None:
    theirs = SentenceTransformer(str(minilm), device="cpu", prompts=PROMPTS)
    pipeline = serve(minilm, prompts=PROMPTS)
    assert pipeline.info.prompts == ("query", "document", "sts")
    cases = {
        "query": (Prompting(side="query"), theirs.encode_query(TEXTS)),
        "document": (Prompting(side="document"), theirs.encode_document(TEXTS)),
        "none": (Prompting(), theirs.encode(TEXTS)),
        "name": (Prompting(prompt_name="sts"), theirs.encode(TEXTS, prompt_name="sts")),
        "text": (Prompting(instruction="Find: "), theirs.encode(TEXTS, prompt="Find: ")),
    }
    for name, (prompting, expected) in cases.items():
        ours = await dense(pipeline, TEXTS, prompting=prompting)
        np.testing.assert_allclose(ours, expected, atol=2e-5, err_msg=name)


async def test_a_text_that_is_cut_at_the_left_keeps_its_end(serve: Any, minilm: Path) -> None:
    theirs = SentenceTransformer(str(minilm), device="cpu")
    theirs.tokenizer.truncation_side = "left"
    text = " ".join(f"word{n}" for n in range(300))
    pipeline = serve(minilm)
    ours = await dense(pipeline, [text], truncate="left")
    np.testing.assert_allclose(ours, theirs.encode([text]), atol=2e-5)
    with pytest.raises(InvalidInput, match="the model reads 256: shorten it"):
        await pipeline.encode(EncodeRequest(inputs=[text], truncate="refuse"))


async def test_chunks_of_a_text_are_encoded_as_texts_and_pooled_by_their_tokens(
    serve: Any, minilm: Path
) -> None:
    pipeline = serve(minilm)
    text = "the search engine ranks passages by meaning rather than by words"
    chunking = Chunking(tokens=4, overlap=1)
    encoded = await pipeline.encode(EncodeRequest(inputs=[text], chunking=chunking))
    spans = [text[chunk.start : chunk.end] for chunk in encoded.chunks or ()]
    assert spans == [
        "the search engine ranks",
        "ranks passages by meaning",
        "meaning rather than by",
        "by words",
    ]
    alone = await dense(pipeline, spans)
    rows = np.stack([out.dense for out in encoded.outputs])
    np.testing.assert_allclose(rows, alone, atol=1e-6)
    means = await dense(pipeline, [text], chunking=Chunking(tokens=4, overlap=1, pooled=True))
    mean = np.array([6, 6, 6, 4], np.float32) @ alone  # tokens, special ones included
    np.testing.assert_allclose(means[0], mean / np.linalg.norm(mean), atol=1e-6)


WORDS = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{n}" for n in range(60))]


def vocabulary(folder: Path) -> None:
    """Whole words, framed as XLM-R frames them."""
    fast = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    fast.save(str(folder / "tokenizer.json"))
    told = {"model_max_length": 8192, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


@pytest.fixture
def bge_m3(tmp_path: Path) -> Path:
    """A small model in the layout of BGE-M3, heads beside it and all."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.XLMRobertaConfig(
        vocab_size=len(WORDS), intermediate_size=48, max_position_embeddings=8194, **shape
    )
    folder = tmp_path / "bge-m3"
    hf.XLMRobertaModel(config).eval().save_pretrained(folder)
    vocabulary(folder)
    torch.save(torch.nn.Linear(32, 1).state_dict(), folder / "sparse_linear.pt")
    torch.save(torch.nn.Linear(32, 32).state_dict(), folder / "colbert_linear.pt")
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": n, "path": f"{n}_{kind}" if n else "", "type": f"sentence_transformers.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    return folder


async def test_8192_tokens_are_read_in_one_pass(serve: Any, bge_m3: Path) -> None:
    pipeline = serve(bge_m3)
    text = " ".join(f"w{n * n % 60}" for n in range(9000))
    encoded = await pipeline.encode(EncodeRequest(inputs=[text]))
    assert encoded.tokens == pipeline.info.max_tokens == 8192
    reference = hf.XLMRobertaModel.from_pretrained(bge_m3).eval()
    ids = [0, *(WORDS.index(word) for word in text.split()[:8190]), 2]
    with torch.inference_mode():
        expected = reference(torch.tensor([ids])).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(
        encoded.outputs[0].dense, expected / np.linalg.norm(expected), atol=2e-5
    )


async def test_every_output_of_bge_m3_comes_of_one_request_and_ranks(
    serve: Any, bge_m3: Path
) -> None:
    pipeline = serve(bge_m3)
    assert pipeline.info.outputs == ("dense", "sparse", "multivector")
    assert pipeline.info.output_dimensions == {"dense": 32, "sparse": 64, "multivector": 32}
    kinds = ("dense", "sparse", "multivector")
    encoded = await pipeline.encode(EncodeRequest(inputs=["w1 w2 w3", "w1 w1"], outputs=kinds))
    first, second = encoded.outputs
    assert first.dense.shape == (32,)
    assert first.multivector.shape == (4, 32)  # three words and </s>; <s> has none
    assert set(first.sparse.indices) <= {5, 6, 7}
    scored = await pipeline.score(ScoreRequest(query="w1 w2 w3", documents=["w1 w1", "w1 w2 w3"]))
    products = first.multivector @ second.multivector.T
    np.testing.assert_allclose(scored.scores, [products.max(1).mean(), 1], atol=1e-5)
    (bare,) = (
        await pipeline.encode(EncodeRequest(inputs=["w1 w2 w3"], outputs=("tokens",)))
    ).outputs
    reference = hf.XLMRobertaModel.from_pretrained(bge_m3).eval()
    with torch.inference_mode():
        states = reference(torch.tensor([[0, 5, 6, 7, 2]])).last_hidden_state[0].numpy()
    np.testing.assert_allclose(bare.tokens, states, atol=2e-5)
    with pytest.raises(InvalidInput, match="gives no score; it gives dense, sparse, multivector"):
        await pipeline.encode(EncodeRequest(inputs=["w1"], outputs=("score",)))


async def test_a_cross_encoder_ranks_documents(serve: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.XLMRobertaConfig(
        vocab_size=len(WORDS), intermediate_size=48, max_position_embeddings=34, **shape
    )
    config.id2label = {0: "relevance"}
    theirs = hf.XLMRobertaForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path / "cross")
    vocabulary(tmp_path / "cross")
    pipeline = serve(tmp_path / "cross")
    documents = ["w1", "w9 w8", " ".join(["w3"] * 50)]
    scored = await pipeline.score(ScoreRequest(query="w1 w2", documents=documents))
    rows = [[0, 5, 6, 2, 2, *ids, 2] for ids in ([5], [13, 12], [7] * 26)]
    with torch.inference_mode():
        logits = [theirs(torch.tensor([row])).logits[0, 0].item() for row in rows]
    expected = 1 / (1 + np.exp(-np.array(logits)))
    np.testing.assert_allclose(scored.scores, expected, atol=2e-5)
    assert scored.tokens == sum(map(len, rows))
    raw = await pipeline.score(ScoreRequest(query="w1 w2", documents=documents, raw=True))
    np.testing.assert_allclose(raw.scores, logits, atol=2e-5)
    assert (pipeline.info.labels, pipeline.info.instructed) == (("relevance",), False)
