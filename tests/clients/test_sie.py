"""The unmodified sie-sdk against the real runtime: a tour, a replaced replica, the documented snippet."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model

from clientkit import python, tour
from modelkit import saved
from runtimekit import Process, document, launch

#: PEFT asks transformers in a way that transformers has given up.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SNIPPETS = Path(__file__).parents[2] / "docs" / "clients" / "sie.md"
SHAPE: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def m3(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Ready: all three kinds, of random weights in BGE-M3's layout, an adapter, and one that is broken."""
    folder = tmp_path_factory.mktemp("m3")
    base = saved(hf.BertModel(hf.BertConfig(**SHAPE)), folder / "base")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm / file, base)
    sparse = torch.nn.Linear(32, 1).state_dict()
    sparse["bias"] += 20.0  # so that the weights of random layers are not all below 0, and left out
    torch.save(sparse, base / "sparse_linear.pt")
    torch.save(torch.nn.Linear(32, 32).state_dict(), base / "colbert_linear.pt")
    sources = {"legal": adapter(base, folder / "legal"), "broken": broken(folder / "broken")}
    prompts = {"query": "query: ", "document": ""}
    made = document(base, "m3", prompts=prompts, pooling="cls", normalize=True)
    made["spec"]["adapters"] = [
        {"name": name, "source": f"file://{source}"} for name, source in sources.items()
    ]
    process = launch(folder, made)
    yield process.until_ready()
    process.end()


def adapter(base: Path, folder: Path) -> Path:
    """A LoRA adapter that makes a difference: B of a new one is zero."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"])
    model = get_peft_model(hf.BertModel.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return folder


def broken(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{")
    return folder


def test_the_tour(serving: Process, m3: Process, minilm: Path, tmp_path: Path) -> None:
    starting = launch(tmp_path, document(minilm))
    try:
        assert "waited for the model" in tour("sie", "sie", serving.url, m3.url, starting.url)
    finally:
        starting.end()


def test_a_client_does_not_see_one_replica_go_and_another_come(
    minilm: Path, tmp_path: Path
) -> None:
    python("sie")
    begun, stop, said = tmp_path / "begun", tmp_path / "stop", []
    first = launch(tmp_path, document(minilm)).until_ready()
    calls = threading.Thread(
        target=lambda: said.append(tour("sie", "sie_drain", first.url, str(begun), str(stop)))
    )
    calls.start()
    try:
        wait_for(begun, calls)
        assert first.terminate() == 0
        second = launch(tmp_path, document(minilm), "--port", str(first.port))
        second.port = first.port
        try:
            second.until_ready()
            stop.touch()
            calls.join(60)
        finally:
            second.end()
    finally:
        stop.touch()
        first.end()
    assert int(said[0]) > 1


def wait_for(file: Path, worker: threading.Thread) -> None:
    while not file.exists():
        worker.join(0.05)
        assert worker.is_alive(), "the client ended before its first answer"


def test_the_sdk_s_ladder_of_retries_and_errors(failing: str) -> None:
    tour("sie", "sie_ladder", failing)


def test_the_documented_snippet(serving: Process, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", SNIPPETS.read_text(), re.DOTALL)
    script = tmp_path / "snippet.py"
    script.write_text("\n".join(blocks).replace("http://localhost:8080", serving.url))
    done = subprocess.run(
        [str(python("sie")), str(script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(384,) float32\n")
