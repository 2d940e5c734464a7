"""Where weights come from: one URI, parsed once into a typed value.

`hf://org/name  s3://bucket/path  gs://bucket/path  az://container/path  https://host/path/model.tar.gz
pvc://claim/path  oci://image@sha256:...` in the cluster, and `file:///path` for local serving only.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from kubeembed_api.errors import InvalidSpec

Scheme = Literal["hf", "s3", "gs", "az", "https", "pvc", "oci", "file"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

#: Object stores: listed and read through one library, at the cloud or at an endpoint of one's own.
STORES: tuple[Scheme, ...] = ("s3", "gs", "az")

#: Sources that Kubernetes mounts into the serving pod: nothing is fetched.
MOUNTED: tuple[Scheme, ...] = ("pvc", "oci")

#: The end of an https:// source: the list of files beside it, as `sha256sum` writes it, or an archive.
LIST = "SHA256SUMS"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_ENDING = rf"([^?#@ ]+/)?({LIST}|[^/?#@ ]+({'|'.join(map(re.escape, ARCHIVES))}))"

#: What follows `scheme://`, and how to say it to a person.
SHAPES: dict[Scheme, tuple[str, str]] = {
    "hf": (r"[\w.-]+(/[\w.-]+)?", "hf://org/name"),
    "s3": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+", "s3://bucket/path"),
    "gs": (r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/.+", "gs://bucket/path"),
    "az": (r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]/.+", "az://container/path"),
    "https": (
        r"[^/?#@ ]+/" + _ENDING,
        f"https://host/path/model.tar.gz ({', '.join(ARCHIVES)}) or https://host/path/{LIST}",
    ),
    "pvc": (r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[^/].*)?", "pvc://claim/path"),
    "oci": (
        r"[^@]+@sha256:[0-9a-f]{64}(/[^/].*)?",
        "oci://registry/image@sha256:<64 hex digits>, and /path where the model is not at the image's root",
    ),
    "file": (r"/.*", "file:///absolute/path"),
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A key of the user's Secret, and the variable under which the fetch gets it."""

    key: str
    variable: str
    required: bool = False


#: What a Secret may hold, by source. The clouds' own words, where they have some.
CREDENTIALS: dict[Scheme, tuple[Credential, ...]] = {
    "hf": (Credential("token", "HF_TOKEN", required=True),),
    "s3": (
        Credential("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID", required=True),
        Credential("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", required=True),
        Credential("AWS_SESSION_TOKEN", "AWS_SESSION_TOKEN"),
    ),
    "gs": (Credential("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT_KEY", required=True),),
    "az": (  # one of: account key, shared access signature, service principal
        Credential("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
        Credential("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_TOKEN"),
        Credential("AZURE_TENANT_ID", "AZURE_TENANT_ID"),
        Credential("AZURE_CLIENT_ID", "AZURE_CLIENT_ID"),
        Credential("AZURE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
    ),
    "https": (  # a bearer token, or a user of basic authentication
        Credential("token", "WEIGHTS_TOKEN"),
        Credential("username", "WEIGHTS_USERNAME"),
        Credential("password", "WEIGHTS_PASSWORD"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed source. `host` is the repository, bucket, claim or image; `path` what is inside it."""

    scheme: Scheme
    host: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")

    @property
    def packed(self) -> bool:
        """Whether it is one archive."""
        return self.scheme == "https" and self.path.endswith(ARCHIVES)

    @property
    def digest(self) -> str:
        """sha256:... of an image; '' of every other source."""
        return self.host.rpartition("@")[2] if self.scheme == "oci" else ""


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
    if scheme == "hf":
        return Source(scheme=scheme, host=rest)
    if scheme == "file":
        return Source(scheme=scheme, host="", path=rest.removeprefix("/").rstrip("/"))
    if scheme == "oci":  # the image's name has slashes of its own
        image, _, inside = rest.partition("@")
        digest, _, path = inside.partition("/")
        return Source(scheme=scheme, host=f"{image}@{digest}", path=path.rstrip("/"))
    host, _, path = rest.partition("/")
    return Source(scheme=scheme, host=host, path=path.rstrip("/"))
