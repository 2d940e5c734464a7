import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint
from kubeembed_runtime.model.files import Files

CPU = torch.device("cpu")
NAME = "embeddings.word_embeddings.weight"


class Code:
    """Unpickled the usual way, it calls a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run",)


def taken(folder: Path) -> list[float]:
    with Checkpoint(folder, torch.float32, CPU) as weights:
        return weights.take(NAME).flatten().tolist()


@pytest.mark.parametrize("zipped", [True, False], ids=["today", "before torch 1.6"])
def test_a_pickled_state_dict_is_read(tmp_path: Path, zipped: bool) -> None:
    tensors = {f"roberta.{NAME}": torch.ones(2, 3, dtype=torch.float16)}
    file = tmp_path / "pytorch_model.bin"
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    assert taken(tmp_path) == [1.0] * 6


def test_a_pickled_state_dict_may_lie_in_many_files(tmp_path: Path) -> None:
    torch.save({NAME: torch.ones(1, 2)}, tmp_path / "pytorch_model-1.bin")
    torch.save({"pooler.dense.bias": torch.zeros(2)}, tmp_path / "pytorch_model-2.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(
        f'{{"weight_map": {{"{NAME}": "pytorch_model-1.bin",'
        ' "pooler.dense.bias": "pytorch_model-2.bin"}}'
    )
    assert taken(tmp_path) == [1.0, 1.0]
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        assert weights.whole("pooler.dense.bias").tolist() == [0.0, 0.0]


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    save_file({NAME: torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Code()))
    assert taken(tmp_path) == [1.0]


@pytest.mark.parametrize("zipped", [True, False], ids=["today", "before torch 1.6"])
def test_code_in_a_pickle_is_not_run(
    tmp_path: Path, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({NAME: Code()}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(StartFailed, match=r"pytorch_model\.bin cannot be read") as refused:
        taken(tmp_path)
    assert refused.value.reason is Reason.NO_USABLE_FILES
    assert capsys.readouterr().out == ""


def test_what_is_left_is_what_nobody_took(tmp_path: Path) -> None:
    """By whole names, and by those of today."""
    gamma = "roberta.embeddings.LayerNorm.gamma"
    names = (f"roberta.{NAME}", gamma, "linear.weight")
    save_file({name: torch.ones(1) for name in names}, tmp_path / "model.safetensors")
    with Checkpoint(tmp_path, torch.float32, CPU) as weights:
        weights.take(NAME)
        assert sorted(weights.left) == ["linear.weight", "roberta.embeddings.LayerNorm.weight"]


def modules(folder: Path, *types: str) -> list[str]:
    told = [{"idx": n, "path": "", "type": path} for n, path in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(told))
    return Files(folder).kinds()


@pytest.mark.parametrize(
    "path",
    [
        "sentence_transformers.Transformer",
        "sentence_transformers.models.Transformer",
        "sentence_transformers.base.modules.transformer.Transformer",
        "pylate.models.Transformer.Transformer",
    ],
)
def test_modules_are_known_wherever_a_release_had_them(path: str, tmp_path: Path) -> None:
    assert modules(tmp_path, path) == ["Transformer"]


@pytest.mark.parametrize(
    "path", ["custom_st.Transformer", "sentence_transformers_more.Transformer", "Transformer"]
)
def test_modules_of_the_models_own_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(StartFailed) as refused:
        modules(tmp_path, "sentence_transformers.models.Transformer", path)
    assert f"modules.json has the module {path}, of neither" in refused.value.message
    assert "code that comes with the model is not run for modules" in refused.value.message
    assert refused.value.reason is Reason.UNSUPPORTED_MODEL
