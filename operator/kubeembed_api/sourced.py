"""What a model and an adapter say of where their files come from, and which of it goes with which source.

The CRD says the same as CEL rules; tests/api applies each wrong document to both.
"""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from kubeembed_api.errors import InvalidSpec
from kubeembed_api.sources import STORES, Source, parse_source

Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#@ ]+(/[^?#@ ]*)?$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", min_length=1)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

#: How a listing of a bucket is named: see kubeembed_weights.stores.
LISTED = re.compile(r"[0-9a-f]{40}")


class Value(BaseModel):
    """A part of the document: unknown fields are refused, and nothing is changed once it is read."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Sourced(Value):
    """A source and what it takes to read it."""

    source: str
    revision: str | None = Field(default=None, min_length=1)
    endpoint: Endpoint | None = None
    region: Region | None = None
    sha256: Sha256 | None = None
    credentials_secret: str | None = Field(default=None, min_length=1)

    @property
    def parsed(self) -> Source:
        """Raises InvalidSpec."""
        return parse_source(self.source)


def check_sourced(told: Sourced, where: str) -> None:
    """Raises InvalidSpec for the first field that this source has no use for, or lacks."""
    source = parse_source(told.source, f"{where}.source")
    for field, problem in _problems(told, source):
        raise InvalidSpec(f"{where}.{field}", problem)


def _problems(told: Sourced, source: Source) -> Iterator[tuple[str, str]]:
    scheme = source.scheme
    if told.revision is not None:
        yield from _revision(told.revision, source)
    if told.credentials_secret is not None and scheme in ("pvc", "file"):
        yield "credentialsSecret", f"{scheme}:// needs none; leave it out"
    if told.endpoint is not None and scheme not in STORES:
        yield "endpoint", f"is for s3://, gs:// and az://; leave it out with {scheme}://"
    if told.endpoint is None and scheme == "az":
        yield "endpoint", "az:// needs the account: write https://<account>.blob.core.windows.net"
    if told.region is not None and scheme != "s3":
        yield "region", f"is for s3://; leave it out with {scheme}://"
    if told.sha256 is not None and scheme != "https":
        yield "sha256", f"is for https://; leave it out with {scheme}://"
    if told.sha256 is None and source.packed:
        yield "sha256", "an archive needs the 64 hex digits that `sha256sum` prints of it"


def _revision(revision: str, source: Source) -> Iterator[tuple[str, str]]:
    match source.scheme:
        case "hf":
            return
        case "s3" | "gs" | "az":
            if not LISTED.fullmatch(revision):
                problem = "has no branches: leave it out, or copy status.model.revision to pin it"
                yield "revision", f"{source.scheme}:// {problem}"
        case "https":
            yield "revision", "https:// has none: leave it out, sha256 pins what is fetched"
        case scheme:
            yield "revision", f"{scheme}:// has none; leave it out"
