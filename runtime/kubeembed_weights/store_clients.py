"""A source's fields and the environment -> a client of its object store, and as whom it asks.

The environment is what the operator puts into the fetch Job from the Secret, or what a cloud's webhook puts
there for a service account. Without either the store is asked as a stranger: a public bucket needs no more,
and nobody is asked for credentials that the document does not name.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from kubeembed_api.sourced import Sourced
from kubeembed_api.sources import Scheme
from kubeembed_weights.retry import stall_seconds

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

logger = logging.getLogger(__name__)

CONNECT = timedelta(seconds=10)

#: Asking again is kubeembed_weights.retry's: it counts, and resumes where the part ends.
NO_RETRIES: "RetryConfig" = {"max_retries": 0}

#: The variables any of which says who asks. The last ones of each are a webhook's, of workload identity.
IDENTITIES: dict[Scheme, tuple[str, ...]] = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",  # IRSA
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",  # EKS Pod Identity
    ),
    "gs": (
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GCE_METADATA_HOST",  # GKE; the operator sets it with spec.model.serviceAccountName
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
}

AnyStore = S3Store | GCSStore | AzureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """`signed`: it asks as somebody. `where`: who is asked, for messages."""

    store: AnyStore
    scheme: Scheme
    signed: bool
    where: str
    bucket: str
    stall_seconds: float


def open_client(told: Sourced, environ: Mapping[str, str]) -> Client:
    """Asks nobody yet."""
    source = told.parsed
    stall = stall_seconds(environ)
    signed = any(environ.get(name) for name in IDENTITIES[source.scheme])
    told_options = {
        "prefix": source.path,
        "client_options": _client_options(told.endpoint, stall),
        "retry_config": NO_RETRIES,
        **({} if signed else {"skip_signature": True}),
    }
    store = _BUILDERS[source.scheme](source.host, told, environ, told_options)
    where = told.endpoint or f"the store of {source.scheme}://{source.host}"
    return Client(
        store=store,
        scheme=source.scheme,
        signed=signed,
        where=where,
        bucket=source.host,
        stall_seconds=stall,
    )


def has_md5(client: Client, path: str) -> bool:
    """Whether an ETag of 32 hex digits is the content's MD5, as S3 and what speaks like it have it.

    It is not where a KMS key encrypts the object, which S3 tells in a header that obstore does not pass on;
    nor in an Express bucket. Google promises nothing of its ETags, and Azure's are none.
    """
    if client.scheme != "s3" or client.bucket.endswith("--x-s3"):
        return False
    if not client.signed:
        return True  # a stranger can not read what a KMS key encrypts
    url = obstore.sign(client.store, "HEAD", path, timedelta(minutes=5))
    try:
        answer = httpx2.head(url, timeout=client.stall_seconds)
    except httpx2.HTTPError as error:
        logger.info("not known whether ETags are checksums: %s", error)
        return False
    encryption = answer.headers.get("x-amz-server-side-encryption", "")
    return answer.status_code == 200 and not encryption.startswith("aws:kms")


def _s3(bucket: str, told: Sourced, environ: Mapping[str, str], options: Any) -> S3Store:
    region = told.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    given = {
        "access_key_id": environ.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": environ.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": environ.get("AWS_SESSION_TOKEN"),
        "region": region or "us-east-1",
        "endpoint": told.endpoint,
    }
    return S3Store(bucket, **_given(given), **options)


def _gs(bucket: str, told: Sourced, environ: Mapping[str, str], options: Any) -> GCSStore:
    given = {
        "service_account_key": environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"),
        "base_url": told.endpoint,
    }
    return GCSStore(bucket, **_given(given), **options)


def _az(container: str, told: Sourced, environ: Mapping[str, str], options: Any) -> AzureStore:
    given = {
        "account_name": _account(told.endpoint or ""),
        "account_key": environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
        "sas_key": environ.get("AZURE_STORAGE_SAS_TOKEN"),
        "tenant_id": environ.get("AZURE_TENANT_ID"),
        "client_id": environ.get("AZURE_CLIENT_ID"),
        "client_secret": environ.get("AZURE_CLIENT_SECRET"),
        "endpoint": told.endpoint,
    }
    return AzureStore(container, **_given(given), **options)


_BUILDERS: dict[str, Callable[[str, Sourced, Mapping[str, str], Any], AnyStore]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}


def _account(endpoint: str) -> str:
    """Of https://<account>.blob.core.windows.net, or http://host:10000/<account>, as emulators have it."""
    url = urlsplit(endpoint)
    return url.path.strip("/") or (url.hostname or "").partition(".")[0]


def _given(values: Mapping[str, str | None]) -> Any:
    return {name: value for name, value in values.items() if value is not None}


def _client_options(endpoint: str | None, stall: float) -> "ClientConfig":
    return {
        "connect_timeout": CONNECT,
        "read_timeout": timedelta(seconds=stall),
        "timeout": timedelta(days=7),  # of a whole body; what stalls is read_timeout's
        "user_agent": "kubeembed-weights",
        "allow_http": (endpoint or "").startswith("http://"),
    }
