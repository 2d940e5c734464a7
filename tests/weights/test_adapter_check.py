"""What can be said of an adapter without torch is said by the fetch, naming the file and the field."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from hub_server import Hub
from kubeembed_api.reasons import Reason
from kubeembed_weights import FetchError
from kubeembed_weights.adapter_check import check_adapter
from weightskit import Command

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query"]}
LEGAL = "{name: legal, source: hf://acme/legal}"
LAYER = "base_model.model.encoder.layer.0.attention.self.query"
PAIR = {f"{LAYER}.lora_A.weight": torch.zeros(4, 8), f"{LAYER}.lora_B.weight": torch.zeros(8, 4)}


def written(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    save_file(PAIR if tensors is None else tensors, folder / "adapter_model.safetensors")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(FetchError) as refused:
        check_adapter(folder)
    assert refused.value.reason is Reason.ADAPTER_REFUSED
    return refused.value.message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_plain_adapter_of_any_float_passes(tmp_path: Path, dtype: torch.dtype) -> None:
    check_adapter(written(tmp_path, {name: tensor.to(dtype) for name, tensor in PAIR.items()}))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "adapter_config.json has use_dora true; supported: false"),
        ({"bias": "all"}, 'adapter_config.json has bias "all"; supported: none'),
        ({"modules_to_save": ["pooler"]}, 'adapter_config.json has modules_to_save ["pooler"]'),
        ({"peft_type": "IA3"}, 'adapter_config.json has peft_type "IA3"; supported: LORA'),
        ({"target_modules": None}, "adapter_config.json has no target_modules"),
        ({"r": 8}, "at rank 8 they are (8, in) and (out, 8)"),
        ({"rank_pattern": {"query": 2}}, "has lora_A (4, 8) and lora_B (8, 4); at rank 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_field_that_asks_for_more_is_named(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    assert said in refusal(written(tmp_path, **config))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"x.bias": torch.zeros(8)}, "has x.bias, which is a bias; supported: lora_A, lora_B"),
        ({f"{LAYER}.lora_A.weight": torch.zeros(4, 8)}, "alone"),
        ({name: each.to(torch.int8) for name, each in PAIR.items()}, "is I8; supported: float32"),
    ],
    ids=["bias", "half a pair", "whole numbers"],
)
def test_a_tensor_that_is_none_of_loras_is_named(
    tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    assert said in refusal(written(tmp_path, tensors))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no safetensors file"),
        (b"x" * 100, "is no safetensors file"),
        (save(PAIR)[:-1], "is not whole"),
        (save(PAIR) + b"x", "is not whole"),
        (save({}), "with 0 tensors"),
    ],
    ids=["empty", "noise", "cut", "longer", "no tensors"],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (written(tmp_path) / "adapter_model.safetensors").write_bytes(content)
    assert said in refusal(tmp_path)


def test_the_process_fetches_checks_and_tells(
    hub: Hub, root: Path, tmp_path: Path, command: Command
) -> None:
    good = hub.repositories.add("acme/legal", written(tmp_path / "good"))
    hub.repositories.add("acme/bad", written(tmp_path / "bad", use_dora=True))
    ended = command.end(command.run("adapter", LEGAL, "--root", root))
    assert ended.code == 0
    assert ended.report["reason"] == "Fetched"
    assert ended.report["revision"] == good
    assert (root / ended.report["key"] / "adapter_model.safetensors").exists()
    ended = command.end(command.run("adapter", LEGAL.replace("legal}", "bad}"), "--root", root))
    assert ended.code == 1
    assert ended.report["reason"] == "AdapterRefused"
    assert "use_dora true" in ended.report["message"]
