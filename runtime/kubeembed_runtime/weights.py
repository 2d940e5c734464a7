"""The document -> the folder of its weights. In a pod it is there or it is not; on a laptop it is fetched.

A document with a key was resolved by the operator: then nothing here touches the network, and the source's client is
not even imported.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Progress
from kubeembed_runtime.errors import StartFailed

MEGABYTE = 1_000_000

#: Seconds between progress lines where the output is no terminal.
QUIET_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole copy of the model's files, and the commit they are of where the source has commits."""

    folder: Path
    revision: str | None


def open_weights(model: EmbeddingModel, cache: Path) -> Weights:
    """Raises StartFailed: WeightsMissing, or whatever the source answers."""
    key, source = model.resolved.key, model.spec.model.parsed
    if key is not None:
        return Weights(folder=_existing(cache / key), revision=model.resolved.revision)
    if source.scheme == "file":
        return Weights(folder=_existing(Path("/", source.path)), revision=None)
    return _fetched(model, cache)


def _existing(folder: Path) -> Path:
    if not (folder / "config.json").exists():
        problem = f"{folder} holds no model (no config.json)"
        raise StartFailed(Reason.WEIGHTS_MISSING, problem)
    return folder


def _fetched(model: EmbeddingModel, cache: Path) -> Weights:
    from kubeembed_weights import FetchError, fetch  # the hub's client, which pods do without

    cache.mkdir(parents=True, exist_ok=True)
    try:
        copy = fetch(model, cache, progress=progress_line(sys.stderr))
    except FetchError as error:
        raise StartFailed(error.reason, error.message) from error
    return Weights(folder=copy.path, revision=copy.revision)


def progress_line(
    out: TextIO, clock: Callable[[], float] = time.monotonic
) -> Callable[[Progress], None]:
    """Shows how far a fetch is: one line that is rewritten on a terminal, else a line now and then."""
    shown = float("-inf")

    def show(progress: Progress) -> None:
        nonlocal shown
        whole = progress.bytes >= progress.total
        if not whole and clock() - shown < (0.2 if out.isatty() else QUIET_SECONDS):
            return
        shown = clock()
        out.write(_sentence(progress) + _line_end(out.isatty(), whole))
        out.flush()

    return show


def _sentence(progress: Progress) -> str:
    done, total = progress.bytes / MEGABYTE, progress.total / MEGABYTE
    return f"fetching weights: {done:.1f} of {total:.1f} MB, {progress.rate / MEGABYTE:.1f} MB/s"


def _line_end(terminal: bool, whole: bool) -> str:
    return "\r" if terminal and not whole else "\n"
