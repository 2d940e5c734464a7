"""The heads on our own BERT against the libraries that models are made with."""

import random
import shutil
import string
from collections.abc import Sequence
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
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.util import maxsim as their_maxsim
from sentence_transformers.util.quantization import quantize_embeddings
from tokenizers import Tokenizer

from headkit import colbert
from kubeembed_api.document import EmbeddingModel, Metadata
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import ModelSource, Spec
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.maxsim import maxsim
from kubeembed_runtime.model.bert import Bert, shape
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.encoder import Encoder
from kubeembed_runtime.model.heads import Parts, build
from kubeembed_runtime.model.recipes import (
    MultivectorRecipe,
    Recipe,
    ScoreRecipe,
    SparseRecipe,
    Told,
)
from kubeembed_runtime.model.resolving import resolve
from kubeembed_runtime.precision import Precision, quantize
from kubeembed_runtime.requests import Item, Output, Sparse
from modelkit import saved

CPU = torch.device("cpu")
SHAPE: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
TEXTS = (
    "wing flutter",
    "aircraft wing flutter at high speed",
    "the, search; engine! ranks (passages) by meaning, rather than by words.",
    "a",
    "naïve café über 語",
)
SPLADE = SparseRecipe(kind="mlm", activation="log1p_relu")
NAMES = tuple(Recipe.__dataclass_fields__)


def recipe(**values: Any) -> Recipe:
    """A recipe of these values; what heads do not ask for is empty."""
    plain: dict[str, Any] = {
        "pooling": None,
        "normalize": False,
        "projections": (),
        "sparse": None,
        "multivector": None,
        "score": None,
    }
    told = {name: values.get(name, plain.get(name)) for name in NAMES}
    return Recipe(**{name: Told(value=value, origin="test") for name, value in told.items()})


def load(folder: Path, dtype: torch.dtype = torch.float32, **values: Any) -> Encoder:
    """Our encoder on the model in `folder`."""
    config = hf.AutoConfig.from_pretrained(folder).to_dict()
    with torch.inference_mode(), Checkpoint(folder, dtype, CPU) as weights:
        body = Bert(weights, shape(config))
        told = recipe(**values)
        parts = Parts(weights=weights, folder=folder, config=config, recipe=told, words=body.words)
        heads = build(parts)
    return Encoder(body, heads, recipe=told, dtype="float32", device=CPU)


@dataclass(frozen=True)
class Maker:
    """Small random models with the vocabulary of a real one."""

    source: Path
    folder: Path

    def save(self, model: Any, name: str = "base") -> Path:
        """The model and its tokenizer, with weights that make a difference."""
        saved(model, self.folder / name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(self.source / file, self.folder / name)
        return self.folder / name

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = Tokenizer.from_file(str(self.source / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return [tokenizer.encode(text).ids for text in texts]


@pytest.fixture
def maker(minilm: Path, tmp_path: Path) -> Maker:
    return Maker(minilm, tmp_path)


def assert_sparse(ours: Sparse, theirs: Any, atol: float = 1e-5) -> None:
    """theirs: (vocabulary,), sparse or not. What rounding makes 0 or not may differ."""
    whole = np.zeros(len(theirs), dtype=np.float32)
    whole[ours.indices] = ours.values
    np.testing.assert_allclose(whole, theirs.to_dense().cpu(), atol=atol)


@pytest.mark.parametrize("mode", ["cls", "mean", "lasttoken", ("weightedmean", "max", "cls")])
def test_dense_modules_are_sentence_transformers_own(mode: Any, maker: Maker) -> None:
    """With the recipe that the folder itself tells."""
    base = maker.save(hf.BertModel(hf.BertConfig(**SHAPE)))
    modules = [
        Transformer(str(base)),
        Pooling(32, mode),
        Dense(32 * (1 if isinstance(mode, str) else 3), 48, activation_function=torch.nn.Tanh()),
        Dense(48, 20, bias=False, activation_function=torch.nn.Identity(), use_residual=True),
        Normalize(),
    ]
    theirs = SentenceTransformer(modules=modules, device="cpu")
    theirs.save(str(maker.folder / "whole"))
    wanted = theirs.encode(list(TEXTS))
    source = ModelSource(source=f"file://{maker.folder}/whole")
    document = EmbeddingModel(metadata=Metadata(name="whole"), spec=Spec(model=source))
    told = resolve(maker.folder / "whole", document)
    ours = load(maker.folder / "whole", **{name: getattr(told, name).value for name in NAMES})
    found = ours([Item(ids=ids) for ids in maker.ids(TEXTS)])
    np.testing.assert_allclose(np.stack([one.dense for one in found]), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("wide", "problem"),
    [
        (32, r"2_Dense reads 32 numbers, .* gives 64 \(pooling: cls and max, by test\)"),
        (64, r"3_Dense reads 64 numbers, .* gives 48"),
    ],
)
def test_dense_modules_of_another_width_are_refused(wide: int, problem: str, maker: Maker) -> None:
    base = maker.save(hf.BertModel(hf.BertConfig(**SHAPE)))
    for name, width in (("2_Dense", wide), ("3_Dense", 64)):
        (base / name).mkdir()
        Dense(width, 48).save(str(base / name))
    with pytest.raises(StartFailed, match=problem) as refused:
        load(
            base,
            outputs=("dense",),
            pooling=("cls", "max"),
            projections=("2_Dense", "3_Dense"),
        )
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_sparse_is_sparse_encoder_s(activation: Any, maker: Maker) -> None:
    base = maker.save(hf.BertForMaskedLM(hf.BertConfig(**SHAPE)))
    modules = [
        Transformer(str(base), transformer_task="fill-mask"),
        SpladePooling("max", activation_function=activation),
    ]
    theirs = SparseEncoder(modules=modules, device="cpu").encode(list(TEXTS))
    ours = load(
        base,
        outputs=("sparse",),
        sparse=SparseRecipe(
            kind="mlm", activation="log1p_relu" if activation == "relu" else "log1p_log1p_relu"
        ),
    )
    found = ours([Item(ids=ids, outputs=("sparse",)) for ids in maker.ids(TEXTS)])
    for one, wanted in zip(found, theirs, strict=True):
        assert one.sparse is not None
        assert_sparse(one.sparse, wanted)


@pytest.mark.parametrize("labels", [1, 3])
def test_scores_are_cross_encoder_s(labels: int, maker: Maker) -> None:
    config = hf.BertConfig(**SHAPE, num_labels=labels)
    base = maker.save(hf.BertForSequenceClassification(config))
    theirs = CrossEncoder(str(base), device="cpu")
    pairs = [(one, other) for one in TEXTS[:2] for other in TEXTS]
    wanted = theirs.predict(pairs).reshape(len(pairs), labels)
    activation = "sigmoid" if labels == 1 else "identity"
    ours = load(base, outputs=("score",), score=ScoreRecipe(labels=labels, activation=activation))
    items = [paired(theirs.tokenizer(*pair)) for pair in pairs]
    found = np.stack([one.score for one in ours(items)])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def paired(encoded: Any) -> Item:
    second = encoded["token_type_ids"].index(1)
    return Item(ids=encoded["input_ids"], outputs=("score",), second=second)


def late_interaction(base: Path, expansion: dict[str, Any]) -> MultiVectorEncoder:
    linear = Dense(
        32,
        24,
        bias=False,
        activation_function=torch.nn.Identity(),
        module_input_name="token_embeddings",
    )
    modules = [
        Transformer(str(base), query_expansion=expansion),
        linear,
        MultiVectorMask(skiplist_words=list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, device="cpu")


def query(ids: list[int], length: int, *, attend: bool) -> Item:
    """Filled up with [MASK], as the tokenizer does it."""
    masks = [103] * (length - len(ids))
    attended = len(ids) if masks and not attend else None
    outputs: tuple[Any] = ("multivector",)
    return Item(ids=[*ids, *masks], outputs=outputs, side="query", attended=attended)


@pytest.mark.parametrize("attend", [False, True], ids=["unseen masks", "seen masks"])
def test_colbert_is_multi_vector_encoder_s(attend: bool, maker: Maker) -> None:
    base = maker.save(hf.BertModel(hf.BertConfig(**SHAPE)))
    theirs = late_interaction(base, {"strategy": "fixed", "attend": attend, "length": 32})
    theirs.save(str(maker.folder / "whole"))
    told = MultivectorRecipe(dimensions=24, skip=tuple(string.punctuation), file="1_Dense")
    ours = load(maker.folder / "whole", outputs=("multivector",), multivector=told)
    ids = maker.ids(TEXTS)
    found = ours(
        [
            *(query(row, 32, attend=attend) for row in ids),
            *(Item(ids=row, outputs=("multivector",), side="document") for row in ids),
        ]
    )
    wanted = [*theirs.encode_query(list(TEXTS)), *theirs.encode_document(list(TEXTS))]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.multivector, other, atol=1e-5)
    assert [len(one.multivector) for one in found[:5]] == [32] * 5


@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_max_sim_is_sentence_transformers_own(mean: bool) -> None:
    made = np.random.default_rng(0)
    vectors = [made.standard_normal((n, 24), dtype=np.float32) for n in (7, 1, 40, 9, 9)]
    tensors = [torch.from_numpy(one) for one in vectors]
    wanted = their_maxsim(tensors[:1], tensors, length_normalize=mean)[0]
    np.testing.assert_allclose(maxsim(vectors[0], vectors, mean=mean), wanted, rtol=1e-5)


def test_a_projection_may_lie_among_the_weights(maker: Maker) -> None:
    """As stanford's checkpoints have it."""

    class HFColBERT(hf.BertPreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bert = hf.BertModel(config, add_pooling_layer=False)
            self.linear = torch.nn.Linear(32, 24, bias=False)
            self.post_init()

    model = HFColBERT(hf.BertConfig(**SHAPE))
    base = maker.save(model)
    told = MultivectorRecipe(dimensions=24, file="linear.weight")
    ours = load(base, outputs=("multivector",), multivector=told)
    ids = maker.ids(TEXTS)
    found = ours([Item(ids=row, outputs=("multivector",)) for row in ids])
    with torch.inference_mode():
        for one, row in zip(found, ids, strict=True):
            hidden = model.bert(torch.tensor([row])).last_hidden_state[0]
            wanted = colbert(hidden, model.linear.weight)
            np.testing.assert_allclose(one.multivector, wanted, atol=1e-5)


def bge_m3(maker: Maker, dtype: torch.dtype = torch.float32) -> Encoder:
    """BERT with FlagEmbedding's two heads beside it: three kinds of output."""
    base = maker.save(hf.BertModel(hf.BertConfig(**SHAPE)))
    torch.manual_seed(3)
    torch.save(torch.nn.Linear(32, 1).state_dict(), base / "sparse_linear.pt")
    torch.save(torch.nn.Linear(32, 32).state_dict(), base / "colbert_linear.pt")
    return load(
        base,
        dtype,
        outputs=("dense", "sparse", "multivector"),
        pooling="cls",
        normalize=True,
        dimensions=32,
        sparse=SparseRecipe(
            kind="linear", activation="relu", skip=("[CLS]", "[SEP]"), file="sparse_linear.pt"
        ),
        multivector=MultivectorRecipe(
            dimensions=32, skip_first=True, mean=True, file="colbert_linear.pt"
        ),
    )


def assert_same(one: Output, other: Output) -> None:
    for name in ("dense", "multivector"):
        mine, its = getattr(one, name), getattr(other, name)
        assert (mine is None) == (its is None)
        if mine is not None:
            np.testing.assert_allclose(mine, its, atol=1e-5)
    assert (one.sparse is None) == (other.sparse is None)
    if one.sparse is not None and other.sparse is not None:
        assert one.sparse.indices.tolist() == other.sparse.indices.tolist()
        np.testing.assert_allclose(one.sparse.values, other.sparse.values, atol=1e-5)


def test_items_of_one_batch_may_ask_for_different_kinds(maker: Maker) -> None:
    encoder, ids = bge_m3(maker), maker.ids(TEXTS)
    special = {101, 102}
    wanted: dict[str, Output] = {}
    for text, row in zip(TEXTS, ids, strict=True):
        (wanted[text],) = encoder([Item(ids=row, outputs=("dense", "sparse", "multivector"))])
        assert wanted[text].multivector.shape == (len(row) - 1, 32)
        assert set(wanted[text].sparse.indices) <= set(row) - special
    choose = random.Random(1)
    for _ in range(12):
        places = choose.choices(range(5), k=choose.randint(1, 9))
        items = [Item(ids=ids[place], outputs=some_kinds(choose)) for place in places]
        for place, item, output in zip(places, items, encoder(items), strict=True):
            whole = wanted[TEXTS[place]]
            assert_same(output, Output(**{kind: getattr(whole, kind) for kind in item.outputs}))


def some_kinds(choose: random.Random) -> tuple[Any, ...]:
    return tuple(choose.sample(["dense", "sparse", "multivector"], choose.randint(1, 3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_heads_run_in_half_precision_too(dtype: torch.dtype, maker: Maker) -> None:
    ids = maker.ids(TEXTS)
    kinds: tuple[Any, ...] = ("dense", "sparse", "multivector")
    asked = [Item(ids=row, outputs=kinds) for row in ids]
    whole, half = bge_m3(maker)(asked), bge_m3(maker, dtype)(asked)
    for one, other in zip(whole, half, strict=True):
        assert one.dense @ other.dense > 0.998
        assert (one.multivector * other.multivector).sum(axis=1).min() > 0.998
        assert other.sparse.values.dtype == other.multivector.dtype == np.float32
        assert_alike(one.sparse, other.sparse)
    base = maker.save(hf.BertForMaskedLM(hf.BertConfig(**SHAPE)))
    asked = [Item(ids=row, outputs=("sparse",)) for row in ids]
    found = [
        load(base, kind, outputs=("sparse",), sparse=SPLADE)(asked)
        for kind in (torch.float32, dtype)
    ]
    for one, other in zip(*found, strict=True):
        assert_alike(one.sparse, other.sparse)


def assert_alike(one: Sparse, other: Sparse) -> None:
    """By the cosine of the two."""
    whole = np.zeros((2, 30522), dtype=np.float32)
    whole[0, one.indices], whole[1, other.indices] = one.values, other.values
    assert whole[0] @ whole[1] > 0.998 * np.linalg.norm(whole[0]) * np.linalg.norm(whole[1])


def numbers() -> Any:
    return np.random.default_rng(0).standard_normal((20, 37), dtype=np.float32)


@pytest.mark.parametrize("precision", ["float32", "binary", "ubinary"])
def test_bits_are_packed_as_sentence_transformers_packs_them(precision: Precision) -> None:
    wanted = quantize_embeddings(numbers(), precision)
    values = quantize(numbers(), precision).values
    assert values.dtype == wanted.dtype
    assert np.array_equal(values, wanted)


def test_uint8_is_sentence_transformers_with_the_vector_s_own_range() -> None:
    """But for rounding: theirs is always down, so that ours is the same or one more."""
    for vector in numbers():
        ranges = np.repeat([[vector.min()], [vector.max()]], 37, axis=1)
        theirs = quantize_embeddings(vector[None], "uint8", ranges)[0].astype(int)
        ours = quantize(vector, "uint8").values.astype(int)
        assert set(ours - theirs) <= {0, 1}
