"""Where weights come from: one URI, parsed once into a typed value.

`hf://org/name  s3://bucket/path  gs://bucket/path  az://container/path  https://host/path
pvc://claim/path  oci://image@sha256:...` in the cluster, and `file:///path` for local serving only.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from kubeembed_api.errors import InvalidSpec

Scheme = Literal["hf", "s3", "gs", "az", "https", "pvc", "oci", "file"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

#: What follows `scheme://`, and how to say it to a person.
SHAPES: dict[Scheme, tuple[str, str]] = {
    "hf": (r"[\w.-]+(/[\w.-]+)?", "hf://org/name"),
    "s3": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", "s3://bucket/path"),
    "gs": (r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/.+", "gs://bucket/path"),
    "az": (r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/.+", "az://container/path"),
    "https": (r"[^/]+/.+", "https://host/path"),
    "pvc": (r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[^/].*)?", "pvc://claim/path"),
    "oci": (r"[^@]+@sha256:[0-9a-f]{64}", "oci://registry/image@sha256:<64 hex digits>"),
    "file": (r"/.*", "file:///absolute/path"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed source. `host` is the repository, bucket, claim or image; `path` what is inside it."""

    scheme: Scheme
    host: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")


def parse_source(uri: str, field: str = "spec.model.source") -> Source:
    """Raises InvalidSpec with the allowed schemes, or the shape that this scheme wants."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in SCHEMES:
        allowed = ", ".join(f"{s}://" for s in SCHEMES)
        raise InvalidSpec(field, f"{uri!r} is no source; write one of {allowed}")
    pattern, shape = SHAPES[scheme]
    if not re.fullmatch(pattern, rest) or ".." in rest.split("/"):
        raise InvalidSpec(field, f"{uri!r} is not of the form {shape}")
    return _split(scheme, rest)


def _split(scheme: Scheme, rest: str) -> Source:
    if scheme in ("hf", "oci"):
        return Source(scheme=scheme, host=rest)
    if scheme == "file":
        return Source(scheme=scheme, host="", path=rest.removeprefix("/").rstrip("/"))
    host, _, path = rest.partition("/")
    return Source(scheme=scheme, host=host, path=path.rstrip("/"))
