"""Tokens per second of the packed encoder beside sentence-transformers: same texts, weights, threads and run.

    .venv/bin/python benchmarks/encode.py --threads 1

The cases take turns, so that a neighbour on the machine slows all of them alike; the median counts.
With one thread CPU time is measured, which others hardly disturb; with more, wall time. bfloat16 is beside
float32 on a few queries, with its smallest cosine.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import texts
import torch
from compare import save
from environments import packaged_model
from sentence_transformers import SentenceTransformer
from servers import as_document
from torch.nn.functional import cosine_similarity

from kubeembed_api.document import parse
from kubeembed_runtime.loading import BUDGET_TOKENS
from kubeembed_runtime.model.encoder import Encoder, load
from kubeembed_runtime.model.tokenizer import Tokenizer
from kubeembed_runtime.requests import Item, Output

TURNS = 7

#: Queries in bfloat16, which some CPUs take a hundred times as long for.
FEW = 8
PACKED = "KubeEmbed, packed"

Case = Callable[[], object]


def loads() -> dict[str, list[str]]:
    """Three loads: everything mixed, queries, passages."""
    return {
        "mixed": texts.mixed(64),
        "queries": texts.queries(128),
        "passages": texts.passages(32),
    }


def encoder(dtype: str, threads: int) -> Encoder:
    folder = packaged_model()
    return load(folder, parse(as_document(folder, dtype)), threads)


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


def items_of(tokenizer: Tokenizer, given: Sequence[str]) -> list[Item]:
    return [Item(ids=tokens.ids) for tokens in tokenizer(given)]


def packed(encoder: Encoder, tokenizer: Tokenizer, given: Sequence[str]) -> None:
    batched(encoder, items_of(tokenizer, given), BUDGET_TOKENS["cpu"])


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


def cosine(one: Encoder, other: Encoder, items: Sequence[Item]) -> float:
    """The smallest between the two encoders' vectors of an item."""

    def stacked(outputs: Sequence[Output]) -> torch.Tensor:
        dense = [each.dense for each in outputs if each.dense is not None]
        return torch.stack([torch.from_numpy(each) for each in dense])

    return float(cosine_similarity(stacked(one(items)), stacked(other(items))).min())


def main() -> None:
    """Prints a row per load and case: tokens per second, and ours in float32 divided by it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    clock = time.process_time if threads == 1 else time.perf_counter
    exact, half = encoder("float32", threads), encoder("bfloat16", threads)
    tokenizer = Tokenizer(packaged_model(), max_tokens=256)
    reference = SentenceTransformer(str(packaged_model()), device="cpu")
    torch.set_num_threads(threads)
    results: dict[str, dict[str, float]] = {}
    for name, given in loads().items():
        items = items_of(tokenizer, given)
        cases: dict[str, Case] = {
            PACKED: partial(packed, exact, tokenizer, given),
            "ST, padded, 32": partial(reference.encode, given, batch_size=32),
            "ST, padded, 8": partial(reference.encode, given, batch_size=8),
        }
        results[name] = found = rates(cases, sum(item.tokens for item in items), clock)
        for case, rate in found.items():
            print(f"{name:9} {case:20} {rate:7.0f} tokens/s   {found[PACKED] / rate:5.2f}")
    save("encode", results)
    few = items_of(tokenizer, texts.queries(FEW))
    speed = rates({"exact": lambda: exact(few), "half": lambda: half(few)}, 1, clock)
    gain = speed["half"] / speed["exact"]
    print(f"bfloat16: {gain:.2f} times as fast as float32, cosine {cosine(exact, half, few):.6f}")


if __name__ == "__main__":
    main()
