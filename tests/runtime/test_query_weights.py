"""The weights of a query's tokens: read from either layout, and refused where a token would have none."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.heads.queries import query_weights

#: Ids need not follow each other: added tokens stand behind a gap at times.
VOCABULARY = {"a": 0, "b": 1, "[MASK]": 4}


@pytest.fixture
def vocabulary() -> Tokenizer:
    return Tokenizer(models.WordLevel(VOCABULARY, unk_token="a"))


def module(folder: Path, *weights: float, name: str = "weight") -> Path:
    made = folder / "query_0_SparseStaticEmbedding"
    made.mkdir()
    save_file({name: torch.tensor(weights)}, made / "model.safetensors")
    return folder


def test_a_table_by_tokens_has_a_place_for_each_id(tmp_path: Path, vocabulary: Tokenizer) -> None:
    (tmp_path / "idf.json").write_text(json.dumps({"[MASK]": 2, "b": 0.5, "unknown": 9}))
    assert query_weights(tmp_path, None, vocabulary).tolist() == [0, 0.5, 0, 0, 2]


@pytest.mark.parametrize("more", [0, 3])
def test_a_module_has_a_weight_for_each_id_or_more(
    tmp_path: Path, vocabulary: Tokenizer, more: int
) -> None:
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, *[9.0] * more]
    assert query_weights(module(tmp_path, *weights), None, vocabulary).tolist() == weights


def test_a_module_of_fewer_weights_than_ids_is_refused(
    tmp_path: Path, vocabulary: Tokenizer
) -> None:
    said = r"model\.safetensors has weights of shape \(4,\); the tokenizer has 5 tokens"
    with pytest.raises(StartFailed, match=said) as refused:
        query_weights(module(tmp_path, 1, 2, 3, 4), None, vocabulary)
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL


def test_a_module_of_another_tensor_is_refused(tmp_path: Path, vocabulary: Tokenizer) -> None:
    with pytest.raises(StartFailed, match=r"model\.safetensors has idf; needed: weight"):
        query_weights(module(tmp_path, *[1.0] * 5, name="idf"), None, vocabulary)


@pytest.mark.parametrize("weight", ["much", None, [1]])
def test_a_weight_that_is_no_number_is_refused(
    tmp_path: Path, vocabulary: Tokenizer, weight: object
) -> None:
    (tmp_path / "idf.json").write_text(json.dumps({"b": weight}))
    with pytest.raises(StartFailed, match=r"idf\.json has .* for the token 'b'; it must be a num"):
        query_weights(tmp_path, None, vocabulary)
