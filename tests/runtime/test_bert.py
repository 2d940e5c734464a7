import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    BertForPreTraining,
    BertModel,
    CamembertConfig,
    CamembertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from kubeembed_api.document import parse
from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.bert import Bert, computes, shape
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.limits import read_config
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.model.products import Product
from kubeembed_runtime.requests import Item
from modelkit import SHAPE, saved

SMALL: dict[str, Any] = {**SHAPE, "max_position_embeddings": 40}
LENGTHS = (1, 2, 2, 3, 7, 7, 7, 30)

CASES: dict[str, Any] = {
    "bert": BertModel(BertConfig(**SMALL)),
    "bert of three kinds of token": BertModel(BertConfig(**SMALL, type_vocab_size=3)),
    "bert with the old gelu": BertModel(BertConfig(**SMALL, hidden_act="gelu_new")),
    "bert with a large epsilon": BertModel(BertConfig(**SMALL, layer_norm_eps=0.1)),
    "roberta": RobertaModel(RobertaConfig(**SMALL, type_vocab_size=1)),
    "roberta padded by 4": RobertaModel(RobertaConfig(**SMALL, pad_token_id=4)),
    "xlm-roberta": XLMRobertaModel(XLMRobertaConfig(**SMALL)),
    "xlm-roberta under a head": XLMRobertaForSequenceClassification(XLMRobertaConfig(**SMALL)),
    "camembert": CamembertModel(CamembertConfig(**SMALL)),
}


def native(folder: Path) -> Bert:
    config = shape(read_config(folder))
    with Checkpoint(folder, torch.float32, torch.device("cpu")) as weights:
        return Bert(weights, config)


def sequences() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randint(5, 100, (length,)) for length in LENGTHS]


def with_padding(pad: int) -> list[torch.Tensor]:
    """Texts that have the token's name in them: some count no position for it."""
    texts = [[5, pad, 6, 7], [pad], [pad, pad, 8], [9, 10, pad], [11, 12]]
    return [torch.tensor(ids) for ids in texts]


def packed(body: Bert, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """The hidden states of each sequence, from one batch of all."""
    items = [Item(ids=ids.tolist()) for ids in given]
    with torch.inference_mode():
        hidden = body(batch(items, torch.device("cpu"), body.padding))
    return list(hidden.split([item.tokens for item in items]))


@pytest.mark.parametrize("model", CASES.values(), ids=CASES.keys())
def test_packed_hidden_states_equal_transformers_one_by_one(model: Any, tmp_path: Path) -> None:
    body = native(saved(model, tmp_path))
    base = getattr(model, "roberta", model)
    given = [*sequences(), *with_padding(model.config.pad_token_id)]
    with torch.inference_mode():
        wanted = [base(ids[None]).last_hidden_state[0] for ids in given]
    for ours, theirs in zip(packed(body, given), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Bert:
    return native(saved(CASES["bert"], tmp_path_factory.mktemp("bert")))


@st.composite
def texts(draw: st.DrawFn) -> Item:
    """With a second part or without, with expansion tokens or without."""
    tokens = draw(st.integers(1, 40))
    return Item(
        ids=draw(st.lists(st.integers(0, 99), min_size=tokens, max_size=tokens)),
        second=draw(st.none() | st.integers(0, tokens)),
        attended=draw(st.none() | st.integers(1, tokens)),
    )


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(items=st.lists(texts(), min_size=1, max_size=6))
def test_hidden_states_do_not_depend_on_the_batch(bert: Bert, items: list[Item]) -> None:
    with torch.inference_mode():
        together = bert(batch(items, torch.device("cpu")))
        alone = [bert(batch([item], torch.device("cpu"))) for item in items]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=0)


def test_threads_that_share_a_body_get_what_one_alone_gets(bert: Bert) -> None:
    source = random.Random(1)
    lengths = [[source.randint(1, 40) for _ in range(source.randint(1, 9))] for _ in range(60)]
    given = [
        batch([Item(ids=[n % 90 + 5] * n) for n in each], torch.device("cpu")) for each in lengths
    ]

    @torch.inference_mode()
    def hidden(each: Batch) -> torch.Tensor:
        return bert(each)

    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(hidden, given * 3))
    alone = [hidden(each) for each in given]
    for ours, wanted in zip(together, alone * 3, strict=True):
        torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=0)


class Watched:
    """A product, and the rows of each call."""

    def __init__(self, product: Product) -> None:
        self.plus, self.activated = product.plus, product.activated
        self._product, self.rows = product, list[int]()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        return self._product(x)


def test_rows_that_fill_up_a_batch_change_nothing(tmp_path: Path) -> None:
    body = native(saved(CASES["bert"], tmp_path))
    watched = body.layers[0].qkv.product = Watched(body.layers[0].qkv.product)
    items = [Item(ids=[7] * length) for length in (13, 30, 32)]
    with torch.inference_mode():
        alone = [body(batch([item], torch.device("cpu"))) for item in items]
        together = body(batch(items, torch.device("cpu")))
    assert watched.rows == [16, 32, 32, 80]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=0)


def test_weights_in_many_files_are_the_same(tmp_path: Path) -> None:
    model = CASES["bert"]
    whole = packed(native(saved(model, tmp_path / "whole")), sequences())
    model.save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    for ours, theirs in zip(packed(native(tmp_path / "parts"), sequences()), whole, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder True; supported: False"),
        ({"hidden_act": "quick_gelu"}, "hidden_act 'quick_gelu'; supported: gelu,"),
        (
            {"model_type": "roberta", "pad_token_id": None},
            "pad_token_id None; supported: the id of a token, after which positions count",
        ),
    ],
    ids=["relative positions", "decoder", "activation", "no padding"],
)
def test_what_is_not_computed_here_is_refused(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    whole = {"hidden_act": "gelu", "model_type": "bert", **SMALL, **config}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    with pytest.raises(StartFailed, match=said) as refused:
        shape(read_config(tmp_path))
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_other_families_and_activations_are_left_to_transformers() -> None:
    asked = [
        {"model_type": "bert", "hidden_act": "gelu"},
        {"model_type": "mpnet", "hidden_act": "gelu"},
        {"model_type": "bert", "hidden_act": "quick_gelu"},
        {},
    ]
    assert [computes(config) for config in asked] == [True, False, False, False]


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    model = BertModel(BertConfig(**SMALL))
    model.encoder.layer = model.encoder.layer[:1]
    saved(model, tmp_path)
    with pytest.raises(StartFailed, match=r"no parameter 'encoder\.layer\.1\.attention"):
        native(tmp_path)


@pytest.mark.parametrize(
    "content", [None, b"", b"not weights at all"], ids=["none", "empty", "text"]
)
def test_weights_that_cannot_be_read_are_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(StartFailed, match=r"model\.safetensors") as refused:
        Checkpoint(tmp_path, torch.float32, torch.device("cpu"))
    assert refused.value.reason is Reason.NO_USABLE_FILES


Document = Callable[..., dict[str, Any]]
OWN = {"auto_map": {"AutoModel": "modeling.Other"}, "architectures": ["Other"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A BERT under the heads that it was trained with, and a buffer of an old release."""
    saved(BertForPreTraining(BertConfig(**SMALL)), tmp_path)
    return besides(tmp_path, "bert.embeddings.position_ids")


def besides(folder: Path, *names: str, **config: Any) -> Path:
    """The folder, with parameters of these names and this in config.json."""
    weights = load_file(folder / "model.safetensors") | {n: torch.ones(1) for n in names}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | config))
    return folder


def encoder(folder: Path, document: Document) -> Encoder:
    recipe = {"pooling": "cls", "normalize": True, "maxTokens": 40, "dtype": "float32"}
    return load(folder, parse(document(folder, **recipe)), 1)


@pytest.mark.parametrize(
    "name", ["linear.weight", "bert.encoder.layer.2.output.dense.bias", "bert.mixer.weight"]
)
def test_weights_for_code_of_its_own_are_refused(
    name: str, folder: Path, document: Document
) -> None:
    assert isinstance(encoder(besides(folder, name), document).body, Bert)
    with pytest.raises(StartFailed) as refused:
        encoder(besides(folder, **OWN), document)
    assert f"has {name}, which a bert does not read" in refused.value.message
    assert "(auto_map.AutoModel: modeling.Other)" in refused.value.message
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_code_of_its_own_beside_usual_heads_changes_nothing(
    folder: Path, document: Document
) -> None:
    assert isinstance(encoder(besides(folder, **OWN), document).body, Bert)


def test_code_of_its_own_is_not_what_transformers_runs_without_trust(
    folder: Path, document: Document
) -> None:
    """sentence-transformers does not trust it unless told to; then it takes its own class, as we do."""
    besides(folder, **OWN)
    (folder / "modeling.py").write_text("raise SystemExit('trusted')")
    theirs = AutoModel.from_pretrained(folder, trust_remote_code=False).eval()
    ids = [2, 5, 9, 3]
    with torch.inference_mode():
        states = theirs(input_ids=torch.tensor([ids])).last_hidden_state[0, 0]
    [output] = encoder(folder, document)([Item(ids=ids)])
    wanted = torch.nn.functional.normalize(states, dim=0).numpy()
    np.testing.assert_allclose(output.dense, wanted, atol=1e-6)


def test_the_projection_of_a_colbert_is_read(folder: Path, document: Document) -> None:
    besides(folder, "linear.weight", **OWN | {"architectures": ["HF_ColBERT"]})
    (folder / "artifact.metadata").write_text(json.dumps({"dim": 1}))
    given = document(folder, outputs=["dense"], pooling="cls", normalize=True, maxTokens=40)
    assert isinstance(load(folder, parse(given), 1).body, Bert)
