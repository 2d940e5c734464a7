import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.checkpoint import Checkpoint

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
