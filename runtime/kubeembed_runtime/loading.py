"""The document -> a model that answers: weights opened, encoder built, device thread started, one batch run.

Runs in a thread of its own, beside the ports that already answer. torch is imported here and no earlier.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.placed import PlacedAdapter
from kubeembed_api.report import RuntimeInfo, Startup
from kubeembed_runtime.adapters import Adapter, Adapters, ToldGolden
from kubeembed_runtime.batcher import Batcher
from kubeembed_runtime.errors import AdapterRefused
from kubeembed_runtime.items import items
from kubeembed_runtime.pipeline import MAX_TOKENIZING, Pipeline
from kubeembed_runtime.prompts import Prompts
from kubeembed_runtime.requests import BatchRun
from kubeembed_runtime.tokens import PLAIN
from kubeembed_runtime.weights import open_adapter, open_weights

if TYPE_CHECKING:
    from kubeembed_runtime.model.adapters import LoraAdapters
    from kubeembed_runtime.model.encoder import Encoder
    from kubeembed_runtime.model.recipes import Recipe
    from kubeembed_runtime.model.streams import Streams
    from kubeembed_runtime.model.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

#: Tokens per batch. On a CPU 256 to 2,048 differ by a tenth, and small ones keep latency low, also of two
#: batches at once; a GPU needs many rows.
BUDGET_TOKENS = {"cpu": 512, "cuda": 16_384}

#: Tokens that have to wait before a batch is taken beside a running one. A CPU is faster with two of any
#: size; on a GPU that pays for many full batches, and a smaller one had better grow until the device is free.
BESIDE_TOKENS = {"cpu": 1, "cuda": 2 * BUDGET_TOKENS["cuda"]}

#: Seconds that requests wait for company while a stream is free: small batches cost most for their size.
PATIENCE = 0.02

#: Tokens that may wait: one request of the largest kind.
CAPACITY_TOKENS = 300_000

WARM_UP_TEXT = "The first batch pays for what is set up lazily, and no user should."


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model that answers, and what metrics show of it."""

    pipeline: Pipeline
    batcher: Batcher


def load(
    model: EmbeddingModel,
    cache: Path,
    threads: int,
    observe: Callable[[BatchRun], None] = lambda run: None,
    observe_tokenizer: Callable[[str, float], None] = lambda adapter, seconds: None,
    placed: Sequence[PlacedAdapter] = (),
    prove: Callable[[Pipeline], Callable[[Adapter, ToldGolden | None], None]] | None = None,
) -> Loaded:
    """placed: adapters that somebody fetched for us; prove: what has a say before one is served. Raises
    StartFailed."""
    begun = time.monotonic()
    weights = open_weights(model, cache)
    made = _make(model, weights.folder, threads, time.monotonic() - begun)
    recipe = made.encoder.recipe
    info = describe(model, made, weights.revision, threads)
    batcher = _batcher(made, observe)
    adapters = _adapters(model, made)
    pipeline = Pipeline(
        info=info,
        tokenize=made.tokenizer,
        vocabulary=made.tokenizer.vocabulary,
        batcher=batcher,
        threads=threads,
        adapters=adapters,
        prompts=_prompts(recipe),
        mean_maxsim=recipe.multivector.value is not None and recipe.multivector.value.mean,
        observe=observe_tokenizer,
    )
    batcher.start()
    if prove is not None:
        adapters.prove = prove(pipeline)
    try:
        load_adapters(model, cache, adapters, placed)
    except BaseException:
        pipeline.close()
        raise
    logger.info(
        "loaded %s: %s, %d dimensions, %s on %s, %d threads; %.1f s, of them %.1f s imports",
        info.name,
        ", ".join(info.outputs),
        info.dimensions,
        info.dtype,
        info.device,
        threads,
        time.monotonic() - begun,
        made.startup.import_seconds,
    )
    return Loaded(pipeline=pipeline, batcher=batcher)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What is made of a folder of weights."""

    encoder: "Encoder"
    tokenizer: "Tokenizer"
    fingerprint: str
    startup: Startup
    streams: "Streams"

    @property
    def budget(self) -> int:
        return BUDGET_TOKENS[self.encoder.device.type]


def _make(model: EmbeddingModel, folder: Path, threads: int, weights_seconds: float) -> _Made:
    """Hashing and the tokenizer's file go on beside the import of torch."""
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as beside:
        from kubeembed_runtime.model import fingerprint
        from kubeembed_runtime.model.resolving import resolve
        from kubeembed_runtime.model.tokenizer import Tokenizer

        hashes = beside.submit(fingerprint.file_hashes, folder)
        recipe = resolve(folder, model)
        reading = beside.submit(Tokenizer.of, folder, recipe)
        from kubeembed_runtime.model import encoder as encoders
        from kubeembed_runtime.model.streams import warm

        imported = time.monotonic()
        encoder = encoders.load(
            folder, model, threads, recipe=recipe, lookup=lambda names: reading.result().ids(names)
        )
        tokenizer = reading.result()
        tokenizer.vocabulary.limit(encoder.body.words.shape[0])
        loaded = time.monotonic()
        encoder(items(tokenizer([WARM_UP_TEXT]), PLAIN, recipe.outputs.value[:1], None))
        streams = warm(encoder, threads, BUDGET_TOKENS[encoder.device.type])
        mark = fingerprint.fingerprint(hashes.result(), recipe.plain(), encoder.dtype)
    startup = Startup(
        weights_seconds=weights_seconds,
        import_seconds=imported - begun,
        load_seconds=loaded - imported,
        warm_seconds=time.monotonic() - loaded,
    )
    return _Made(
        encoder=encoder,
        tokenizer=tokenizer,
        fingerprint=mark,
        startup=startup,
        streams=streams,
    )


def _batcher(made: _Made, observe: Callable[[BatchRun], None]) -> Batcher:
    return Batcher(
        made.encoder,
        budget=made.budget,
        capacity=CAPACITY_TOKENS,
        streams=made.streams.count,
        beside=BESIDE_TOKENS[made.encoder.device.type],
        patience=PATIENCE,
        prepare=made.streams.prepare,
        observe=observe,
    )


def _adapters(model: EmbeddingModel, made: _Made) -> "LoraAdapters":
    """None yet."""
    from kubeembed_runtime.model.adaptable import adapters_of

    source = model.spec.model.parsed
    return adapters_of(
        made.encoder,
        model=model.name,
        fingerprint=made.fingerprint,
        max_loaded=model.spec.adapter_options.max_loaded,
        base=source.host if source.scheme == "hf" else None,
    )


def load_adapters(
    model: EmbeddingModel, cache: Path, adapters: Adapters, placed: Sequence[PlacedAdapter] = ()
) -> None:
    """Those that were fetched for us, or the document's. One that is refused says why to whoever asks."""
    folders: dict[str, Callable[[], Path]] = {
        each.name: partial(Path, each.path) for each in placed
    }
    if model.resolved.key is None:
        wanted = model.spec.adapters
        folders = {each.name: partial(open_adapter, each, cache) for each in wanted}
    for name, folder in folders.items():
        try:
            adapters.declare(name, folder())
            found = adapters.find(name)
            if isinstance(found, Future):
                found.result()
        except AdapterRefused as error:
            logger.error("adapter %s is not served: %s", name, error)


def _prompts(recipe: "Recipe") -> Prompts:
    return Prompts(
        named=recipe.prompts.value,
        default=recipe.default_prompt.value,
        query=recipe.query_prompt.value,
        document=recipe.document_prompt.value,
        instruction=recipe.instruction.value,
    )


def describe(model: EmbeddingModel, made: _Made, revision: str | None, threads: int) -> RuntimeInfo:
    """What /info answers."""
    encoder, recipe = made.encoder, made.encoder.recipe
    widths = recipe.widths(made.tokenizer.vocabulary.size)
    return RuntimeInfo(
        name=model.name,
        outputs=recipe.outputs.value,
        dimensions=widths[recipe.outputs.value[0]],
        output_dimensions=widths,
        max_tokens=recipe.max_tokens.value,
        prompts=tuple(recipe.prompts.value),
        pooling="+".join(recipe.poolings) or None,
        normalize=recipe.normalize.value,
        dtype=encoder.dtype,
        device=encoder.device.type,
        fingerprint=made.fingerprint,
        revision=revision,
        labels=encoder.labels,
        instructed=recipe.instruction.value is not None,
        max_concurrent_requests=MAX_TOKENIZING,
        max_batch_tokens=made.budget,
        tokenizer_threads=threads,
        startup=made.startup,
    )
