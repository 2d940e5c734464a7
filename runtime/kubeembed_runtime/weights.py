"""The document -> the folder of its weights. In a pod it is there or it is not; on a laptop it is fetched.

A document with a key was resolved by the operator: then nothing here touches the network.
"""

from dataclasses import dataclass
from pathlib import Path

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.spec import Adapter
from kubeembed_runtime.errors import AdapterRefused, StartFailed
from kubeembed_weights import FetchError, Meter, fetch, fetch_adapter, open_copy, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole copy of the model's files, and the commit they are of where the source has commits."""

    folder: Path
    revision: str | None


def open_weights(model: EmbeddingModel, cache: Path) -> Weights:
    """Raises StartFailed: WeightsMissing, or whatever the source answers."""
    try:
        if model.resolved.key is not None:
            folder = open_copy(cache, model.resolved.key)
            return Weights(folder=folder, revision=model.resolved.revision)
        return _fetched(model, cache)
    except FetchError as error:
        raise StartFailed(error.reason, error.message) from error


def open_adapter(adapter: Adapter, cache: Path) -> Path:
    """The folder of an adapter, fetched if it is not here. Raises AdapterRefused."""
    try:
        return fetch_adapter(adapter, cache).path
    except FetchError as error:
        raise AdapterRefused(f"{error.reason}: {error.message}") from error


def _fetched(model: EmbeddingModel, cache: Path) -> Weights:
    meter = Meter()
    with shown(meter):
        copy = fetch(model, cache, progress=meter)
    return Weights(folder=copy.path, revision=copy.revision)
