"""What a GPU reaches with the encoder: share of its peak, small batches, and whether the vectors are right.

    python benchmarks/gpu.py [--minilm FOLDER]

Weights are random, at the shapes of docs/h100.md, in bfloat16. Large batches are timed by the device's clock,
small ones by the host's, from the items to the vectors on the host. The median counts. The peak is measured
as well: a product of 8,192 square matrices, which no card runs at its data sheet's rate.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from h100 import MODELS, PEAKS, Model
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kubeembed_api.document import parse
from kubeembed_runtime.model import bert, devices, graphs
from kubeembed_runtime.model.encoder import load
from kubeembed_runtime.model.packing import Batch, batch
from kubeembed_runtime.requests import Item

GPU = torch.device("cuda")
VOCABULARY = 30_522
TOKENS = 16_384
SQUARE = 8192
CALLS, WARM = 15, 4

#: (sequences, tokens of each): a query, a few, and many at once.
SMALL = ((1, 12), (8, 32), (32, 32), (128, 32))

#: Attention heads, which the arithmetic of h100.py has no need of.
HEADS = {"all-MiniLM-L6-v2": 12, "bge-base": 12, "bge-m3": 16}

Body = Callable[[Batch], Tensor]


class RandomWeights:
    """In place of a checkpoint: each tensor of the shape that its name has in BERT."""

    def __init__(self, model: Model) -> None:
        self.model, self.random = model, torch.Generator(device=GPU).manual_seed(0)

    def take(self, name: str) -> Tensor:
        hidden, inner = self.model.hidden, self.model.inner
        tables = {"word": VOCABULARY, "token_type": 2, "position": 8194}
        rows = next((n for kind, n in tables.items() if f"{kind}_embeddings" in name), None)
        if rows is not None:
            return self._random(rows, hidden)
        if "LayerNorm" in name:
            return self._random(hidden) + (1 if name.endswith("weight") else 0)
        wide = "intermediate" in name
        into = inner if wide else hidden
        if name.endswith("bias"):
            return self._random(into)
        down = "output.dense" in name and "attention" not in name
        fan = inner if down else hidden
        return self._random(into, fan) / fan**0.5

    def _random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, device=GPU).to(torch.bfloat16)


def body(model: Model) -> bert.Bert:
    """Of that shape, on the GPU."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": model.hidden,
        "num_attention_heads": HEADS[model.name],
        "num_hidden_layers": model.layers,
        "max_position_embeddings": 8194,
        "pad_token_id": 0,
    }
    return bert.Bert(RandomWeights(model), bert.shape(config))  # type: ignore[arg-type]


def on_device(run: Callable[[], object]) -> float:
    """Seconds by the device's clock."""
    found = []
    for turn in range(WARM + CALLS):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        run()
        ended.record()
        ended.synchronize()
        if turn >= WARM:
            found.append(begun.elapsed_time(ended) / 1e3)
    return median(found)


def on_host(run: Callable[[], object]) -> float:
    """Seconds by the host's clock, of what ends with a copy to the host."""
    found = []
    for turn in range(WARM + CALLS):
        begun = time.perf_counter()
        run()
        if turn >= WARM:
            found.append(time.perf_counter() - begun)
    return median(found)


def peak() -> float:
    """FLOP/s of a large product of random matrices."""
    a, b = torch.randn(2, SQUARE, SQUARE, device=GPU, dtype=torch.bfloat16)
    return 2 * SQUARE**3 / on_device(lambda: a @ b)


def large(model: Model, run: Body, measured: float) -> None:
    """A row per length: full batches."""
    for length in (32, 128, 512, 8192):
        if length > model.limit:
            continue
        given = batch(devices.sample(VOCABULARY, [length] * (TOKENS // length)), GPU)
        rate = TOKENS / on_device(lambda given=given: run(given))
        flops = rate * model.per_token(length)
        sheet = flops / PEAKS["H100 SXM"]
        print(
            f"| {model.name} | {length:,} | {rate / 1e6:.2f} M | {flops / 1e12:.0f} "
            f"| {sheet:.0%} | {flops / measured:.0%} |",
            flush=True,
        )


def small(model: Model, launched: Body, replayed: graphs.Replayed) -> None:
    """A row per batch: launched, and replayed from a graph."""
    for count, length in SMALL:
        items = devices.sample(VOCABULARY, [length] * count)

        def whole(run: Body, items: list[Item] = items) -> Tensor:
            return run(batch(items, GPU))[0].cpu()

        usual, again = on_host(lambda: whole(launched)), on_host(lambda: whole(replayed))
        print(
            f"| {model.name} | {count} x {length} | {1e3 * usual:.2f} | {1e3 * again:.2f} "
            f"| {usual / again:.1f} |",
            flush=True,
        )


def right(folder: Path) -> None:
    """The smallest cosine between the GPU's vectors and a CPU's in float32, of real weights."""
    document = {
        "apiVersion": "kubeembed.dev/v1alpha1",
        "kind": "EmbeddingModel",
        "metadata": {"name": "minilm"},
        "spec": {"model": {"source": f"file://{folder}"}},
    }
    half = load(folder, parse(document), 4)
    half.warm_up(TOKENS)
    find, devices.find = devices.find, lambda: torch.device("cpu")
    document["spec"] = {"model": {"source": f"file://{folder}"}, "recipe": {"dtype": "float32"}}
    exact = load(folder, parse(document), 4)
    devices.find = find
    lengths = [3, 5, 9, 17, 33, 65, 128, 250] * 8
    items = [replace(item, ids=item.ids) for item in devices.sample(VOCABULARY, lengths)]
    together, alone = half(items), [half([item])[0] for item in items]
    wanted = exact(items)
    for how, found in (("in one batch", together), ("one by one, replayed", alone)):
        pairs = zip(found, wanted, strict=True)
        cosines = [
            cosine_similarity(torch.from_numpy(a.dense), torch.from_numpy(b.dense), 0)
            for a, b in pairs
        ]
        print(f"{half.dtype} {how}: cosine to float32 at least {float(min(cosines)):.5f}")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=Path, help="a folder with all-MiniLM-L6-v2")
    options = parser.parse_args()
    measured = peak()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {measured / 1e12:.0f} TFLOP/s"
    )
    bodies = {model: body(model) for model in MODELS}
    print(
        "\n| model | tokens | tokens/s | TFLOP/s | of 989 | of measured |\n|---|--:|--:|--:|--:|--:|"
    )
    for model, run in bodies.items():
        large(model, run, measured)
    print("\n| model | batch | launched, ms | replayed, ms | gain |\n|---|---|--:|--:|--:|")
    for model, run in bodies.items():
        replayed = graphs.replayed(
            run, vocabulary=VOCABULARY, limit=model.limit, device=GPU, record=graphs.recorder()
        )
        small(model, run, replayed)
    if options.minilm:
        right(options.minilm)


if __name__ == "__main__":
    main()
