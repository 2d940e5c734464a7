"""The dense head: pooling, then projections, then the cut, then normalising."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer.modules import Pooling as Theirs
from torch.nn.utils.rnn import pad_sequence

from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Pooling
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.heads.dense import Dense, finished
from kubeembed_runtime.model.heads.layers import Layer, module
from kubeembed_runtime.model.heads.pooling import pool
from kubeembed_runtime.model.packing import batch, pack
from kubeembed_runtime.requests import Item, Vector

CPU = torch.device("cpu")
LENGTHS = [1, 3, 3, 2, 5, 1]


#: Ours -> sentence-transformers' name of the mode.
MODES: Mapping[Pooling, str] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "meanSqrtLength": "mean_sqrt_len_tokens",
    "weightedMean": "weightedmean",
    "lastToken": "lasttoken",
}


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ("cls", [0, 1, 4, 7, 9, 14]),
        ("max", [0, 3, 6, 8, 13, 14]),
        ("lastToken", [0, 3, 6, 8, 13, 14]),
        ("mean", [0, 2, 5, 7.5, 11, 14]),
        ("meanSqrtLength", [0, 6 / 3**0.5, 15 / 3**0.5, 15 / 2**0.5, 55 / 5**0.5, 14]),
        ("weightedMean", [0, 14 / 6, 32 / 6, 23 / 3, 175 / 15, 14]),
    ],
)
def test_pooling_takes_each_sequence_s_own_tokens(pooling: Pooling, wanted: list[float]) -> None:
    hidden = torch.arange(15.0)[:, None].expand(15, 2)
    pooled = pool(hidden, pack(LENGTHS, CPU), [], [pooling])
    np.testing.assert_allclose(pooled, [[number, number] for number in wanted], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prompt", [0, 2])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), ("max", "cls"), tuple(MODES)])
def test_pooling_is_sentence_transformers_own(
    modes: Sequence[Pooling], prompt: int, dtype: torch.dtype
) -> None:
    """Of sequences that the library pads, of which some have a prompt that counts for nothing."""
    torch.manual_seed(0)
    lengths = [3, 3, 5, 9, 4]
    states = [torch.randn(length, 3).to(dtype) for length in lengths]
    mask = torch.tensor([[place < length for place in range(9)] for length in lengths])
    features = {
        "token_embeddings": pad_sequence(states, batch_first=True, padding_value=7.0),
        "attention_mask": mask.long(),
        "prompt_length": prompt,
    }
    named = [MODES[mode] for mode in modes]
    theirs = Theirs(3, pooling_mode=cast(Any, named), include_prompt=False)(features)
    items = [Item(ids=[1] * length, prompt_tokens=prompt) for length in lengths]
    ours = pool(torch.cat(states), pack(lengths, CPU), items, modes)
    tolerance = 1e-6 if dtype is torch.float32 else 1e-2
    wanted = theirs["sentence_embedding"].float()
    torch.testing.assert_close(ours, wanted, rtol=tolerance, atol=tolerance)


def test_the_cut_comes_before_normalising() -> None:
    pooled = torch.tensor([[3.0, 4.0, 12.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    assert finished(pooled, 3, normalize=False).tolist() == [[3, 4, 12], [0, 0, 5]]
    wanted = torch.tensor([[0.6, 0.8], [0.0, 0.0]])  # float32
    torch.testing.assert_close(finished(pooled, 2, normalize=True), wanted)


def test_pooling_may_leave_prompts_out() -> None:
    hidden = torch.arange(11.0)[:, None] * torch.tensor([1.0, 1])
    items = [
        Item(ids=[1] * 4),
        Item(ids=[1] * 4, prompt_tokens=3),
        Item(ids=[1] * 2, prompt_tokens=1),
        Item(ids=[1], prompt_tokens=5),
    ]
    packed = batch(items, CPU)
    cases: dict[Pooling, list[float]] = {
        "mean": [1.5, 7, 9, 10],
        "cls": [0, 7, 9, 10],
        "max": [3, 7, 9, 10],
        "lastToken": [3, 7, 9, 10],
    }
    for pooling, wanted in cases.items():
        head = Dense(pooling=[pooling], normalize=False, dimensions=1)
        found = [float(vector[0]) for vector in head(hidden, packed, items, range(4))]
        assert found == wanted


def run(head: Dense, hidden: torch.Tensor, wanted: Sequence[int | None]) -> list[Vector]:
    """The head over sequences of one token each, of these dimensions."""
    items = [Item(ids=[5], dimensions=dimensions) for dimensions in wanted]
    vectors = head(hidden, batch(items, CPU), items, range(len(items)))
    assert all(vector.dtype == np.float32 for vector in vectors)
    return vectors


def test_projections_come_after_pooling_and_before_the_cut() -> None:
    doubled = Layer(weight=torch.tensor([[2.0, 0], [0, 2], [1, 1]]), activation=torch.relu)
    swapped = Layer(weight=torch.eye(3).flip(0), bias=torch.tensor([0.0, 0, 1]))
    head = Dense(pooling=["mean"], normalize=True, dimensions=3, projections=[doubled, swapped])
    whole, cut = run(head, torch.tensor([[1.0, 2], [1, -3]]), [None, 2])
    np.testing.assert_allclose(whole, np.array([3, 4, 3]) / np.sqrt(34), rtol=1e-6)
    np.testing.assert_allclose(cut, [0, 0])  # relu([2, -6, -2]) = [2, 0, 0] -> [0, 0, 3], cut


def test_half_precision_is_projected_in_float32() -> None:
    halved = Layer(weight=torch.tensor([[1 / 3]]))
    head = Dense(pooling=["cls"], normalize=False, dimensions=1, projections=[halved])
    (vector,) = run(head, torch.ones(1, 1, dtype=torch.bfloat16), [None])
    assert vector == np.float32(1 / 3)


def written(folder: Path, activation: str, *, pickled: bool = False) -> Path:
    """A Dense module in sentence-transformers' layout."""
    config = {"in_features": 2, "out_features": 1, "bias": True, "activation_function": activation}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"linear.weight": torch.tensor([[1.0, 2]]), "linear.bias": torch.tensor([-3.0])}
    if pickled:
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickled"])
@pytest.mark.parametrize(
    ("activation", "wanted"),
    [
        ("torch.nn.modules.activation.Tanh", np.tanh(-2)),
        ("torch.nn.modules.linear.Identity", -2),
        ("torch.nn.modules.activation.ReLU", 0),
    ],
)
def test_a_module_is_read_from_its_folder(
    activation: str, wanted: float, pickled: bool, tmp_path: Path
) -> None:
    layer = module(written(tmp_path, activation, pickled=pickled), torch.float32, CPU)
    assert layer(torch.tensor([[1.0, 0]])).item() == pytest.approx(wanted)


@pytest.mark.parametrize("activation", ["torch.nn.Softmax", "mine.Tanh"])
def test_an_activation_that_is_not_known_is_refused(activation: str, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=f"{activation}'; supported: torch") as refused:
        module(written(tmp_path, activation), torch.float32, CPU)
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_a_module_without_its_weight_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "torch.nn.modules.linear.Identity")
    save_file({"0.weight": torch.ones(1, 2)}, folder / "model.safetensors")
    with pytest.raises(
        StartFailed, match=r"model\.safetensors has 0\.weight; needed: linear\.weight"
    ):
        module(folder, torch.float32, CPU)


class Payload:
    """What a pickled checkpoint could carry: unpickling it calls a function."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("unpickled code ran",)


def test_a_pickle_that_is_more_than_tensors_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "torch.nn.Tanh")
    (folder / "model.safetensors").unlink()
    torch.save({"linear.weight": Payload()}, folder / "pytorch_model.bin")
    with pytest.raises(StartFailed, match=r"pytorch_model\.bin cannot be read") as refused:
        module(folder, torch.float32, CPU)
    assert refused.value.reason is Reason.NO_USABLE_FILES
