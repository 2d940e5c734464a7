"""Real object stores for tests, as programs that are built or installed once and kept in the user's cache.

s3: versitygw, which checks signatures; gs: fake-gcs-server, which does not; az: Azurite, which does. Each
runs with its own folder or memory, on a free port of this machine.
"""

import base64
import hmac
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import obstore
import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from cachekit import alone, cached
from runtimekit import free_ports
from store_proxy import StoreProxy
from weightskit import contents, eventually

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
FAKE_GCS = "github.com/fsouza/fake-gcs-server@v1.56.1"
AZURITE = "azurite@3.37.0"

if TYPE_CHECKING:
    from obstore.store import ClientConfig

STORES = cached("stores")
BUCKET = "tests"
HTTP: "ClientConfig" = {"allow_http": True}

ACCESS_KEY, SECRET_KEY = "AKTESTS", "secret-of-the-tests"
#: The one account that every Azurite has. Its key is in Microsoft's documentation.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, slots=True)
class Running:
    """A store that answers at `url`."""

    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def running(argv: list[str], url: str, environ: dict[str, str] | None = None) -> Iterator[Running]:
    """The program, from the moment that it answers until the end of the body."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(argv, env=os.environ | (environ or {}), stdout=quiet, stderr=quiet)
    try:
        eventually(lambda: _listens(url), f"{argv[0]} listening", seconds=60)
        yield Running(url, process)
    finally:
        process.terminate()
        process.wait(20)


def from_go(package: str) -> str:
    """Path of the program, compiled the first time. Skips the test where there is no Go."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("needs Go, to build a real object store")
    name, _, version = package.rpartition("/")[2].partition("@")
    folder = STORES / f"{name}-{version}"
    with alone(folder):
        if not (folder / name).exists():
            environ = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": ""}
            subprocess.run([go, "install", package], env=environ, check=True, capture_output=True)
    return str(folder / name)


def from_npm(package: str, script: str) -> list[str]:
    """A command that runs the package's script. Skips the test where there is no npm."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("needs Node.js and npm, to run a real object store")
    folder = STORES / package.replace("@", "-")
    with alone(folder):
        if not (folder / "node_modules").exists():
            line = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), package]
            subprocess.run(line, check=True, capture_output=True)
    return [node, str(folder / "node_modules" / script)]


def _listens(url: str) -> bool:
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=5).close()
    except OSError:
        return False
    return True


class Bucket:
    """One folder of a real store, asked through a proxy with faults; `put` goes to the store itself."""

    def __init__(self, scheme: str, store: Running, proxy: StoreProxy, name: str) -> None:
        self.scheme = scheme
        self.proxy = proxy
        self.name = name
        self.path = f"models/{name}"
        self.source = f"{scheme}://{BUCKET}/{self.path}"
        self._url = store.url
        self._direct = CLIENTS[scheme](store.url, self.path)

    @property
    def fields(self) -> dict[str, str]:
        """Of spec.model."""
        account = f"/{ACCOUNT}" if self.scheme == "az" else ""
        return {"source": self.source, "endpoint": self.proxy.url + account}

    def put(self, path: str, content: bytes) -> None:
        """In one part, so that the ETag is an MD5 where the store has such."""
        if self.scheme == "gs":  # the emulator takes files at Google's JSON API alone
            name = quote(f"{self.path}/{path}", safe="")
            place = f"{self._url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
            return _post(place, content)
        obstore.put(self._direct, path, content, use_multipart=False)

    def upload(self, folder: Path) -> None:
        for path, content in contents(folder).items():
            self.put(path, content)

    def delete(self, path: str) -> None:
        obstore.delete(self._direct, path)

    def sent(self, name: str = "*") -> int:
        """Bytes of files' content."""
        return self.proxy.log.sent(f"*/{self.name}/{name}")

    def ranges(self, name: str) -> list[str | None]:
        """Of the requests for a file's content, in order."""
        asked = self.proxy.log.entries(f"*/{self.name}/{name}")
        return [entry["range"] for entry in asked if entry["method"] == "GET"]


def _s3(url: str, prefix: str) -> S3Store:
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    return S3Store(BUCKET, prefix=prefix, endpoint=url, client_options=HTTP, **keys)


def _gs(url: str, prefix: str) -> GCSStore:
    return GCSStore(BUCKET, prefix=prefix, base_url=url, client_options=HTTP, bearer_token="any")


def _az(url: str, prefix: str) -> AzureStore:
    keys = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": f"{url}/{ACCOUNT}"}
    return AzureStore(BUCKET, prefix=prefix, client_options=HTTP, **keys)


CLIENTS: dict[str, Callable[[str, str], S3Store | GCSStore | AzureStore]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
}

#: What opens each store, and what does not. fake-gcs-server lets everybody in.
RIGHT: dict[str, dict[str, str]] = {
    "s3": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
    "gs": {},
    "az": {"AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY},
}
WRONG: dict[str, dict[str, str]] = {
    "s3": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": "another"},
    "az": {"AZURE_STORAGE_ACCOUNT_KEY": "YW5vdGhlcg=="},
}


@contextmanager
def s3_store(folder: Path, *tls: str) -> Iterator[Running]:
    """versitygw over a folder, whose subfolders are the buckets. tls: --cert FILE --key FILE."""
    (folder / BUCKET).mkdir()
    (port,) = free_ports(1)
    line = [from_go(VERSITYGW), "--port", f"127.0.0.1:{port}", *tls, "posix", str(folder)]
    environ = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with running(line, f"{'https' if tls else 'http'}://127.0.0.1:{port}", environ) as store:
        yield store


@contextmanager
def gs_store(folder: Path) -> Iterator[Running]:
    """fake-gcs-server with everything in memory."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    line = [from_go(FAKE_GCS), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    line += ["-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
    with running(line, url) as store:
        _post(f"{url}/storage/v1/b?project=tests", json.dumps({"name": BUCKET}).encode())
        yield store


@contextmanager
def az_store(folder: Path) -> Iterator[Running]:
    """Azurite with everything in memory."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    line = from_npm(AZURITE, "azurite/dist/src/blob/main.js")
    line += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    line += ["--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    with running(line, url) as store:
        _make_container(url)
        yield store


def _post(url: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    urllib.request.urlopen(request, timeout=10).close()


def _make_container(url: str) -> None:
    """Signed with the account's key, as no client at hand makes one."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    told = "".join(f"{name}:{value}\n" for name, value in headers.items())
    told = "PUT" + "\n" * 12 + told + f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    signature = hmac.digest(base64.b64decode(ACCOUNT_KEY), told.encode(), "sha256")
    signed = f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"
    place = f"{url}/{ACCOUNT}/{BUCKET}?restype=container"
    headers |= {"Authorization": signed, "Content-Length": "0"}
    request = urllib.request.Request(place, headers=headers, method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def make_certificates(folder: Path, address: str, *names: str) -> Path:
    """A CA of our own in ca.pem, and a certificate of it for the IP address, and the names, in server.pem and
    server.key."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    ca = ("-addext", "basicConstraints=critical,CA:TRUE")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", *ca)
    known = ",".join([f"IP:{address}", *(f"DNS:{name}" for name in names)])
    san = ("-addext", f"subjectAltName={known}")
    openssl(*new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server", *san)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-copy_extensions", "copy")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    return folder
