"""adapters.json: which adapters a starting pod serves, and where it finds each. Beside the mounted document.

A file of its own, because it changes while the pods run: they are told of it over their admin port. Pods of
another base have another list, under another key of the ConfigMap.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.names import ADAPTERS_FILE


class PlacedAdapter(BaseModel):
    """An adapter that is in the cache. `path` is its folder, as serving pods see it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    path: str


class _Placed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    adapters: tuple[PlacedAdapter, ...]


def write_placed(adapters: Iterable[PlacedAdapter]) -> str:
    """The same text for the same adapters."""
    return _Placed(adapters=tuple(adapters)).model_dump_json()


def read_placed(text: str) -> tuple[PlacedAdapter, ...]:
    """Raises InvalidSpec."""
    try:
        return _Placed.model_validate_json(text).adapters
    except ValidationError as error:
        problem = f"is not as the operator writes it: {error.errors()[0]['msg']}"
        raise InvalidSpec(ADAPTERS_FILE, problem) from error
