"""A real registry, and images of models that are pushed to it over its own protocol."""

import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtimekit import free_ports
from storekit import from_go, running

REGISTRY = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"

OCI = "application/vnd.oci.image"
MANIFEST = f"{OCI}.manifest.v1+json"


class Registry:
    """Pushes images of plain files; `name` is what a reference begins with."""

    def __init__(self, name: str) -> None:
        self.name = name

    def push(self, repository: str, files: Mapping[str, bytes]) -> str:
        """The reference with the digest: registry/repository@sha256:..."""
        layer = _layer(files)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        told = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(repository, told, f"{OCI}.config.v1+json"),
            "layers": [self._blob(repository, layer, f"{OCI}.layer.v1.tar")],
        }
        body = json.dumps(manifest).encode()
        self._send("PUT", f"/v2/{repository}/manifests/{_digest(body)}", body, MANIFEST)
        return f"{self.name}/{repository}@{_digest(body)}"

    def _blob(self, repository: str, content: bytes, kind: str) -> dict[str, Any]:
        place = self._send("POST", f"/v2/{repository}/blobs/uploads/", b"", "")
        joint = "&" if "?" in place else "?"
        octets = "application/octet-stream"
        self._send("PUT", f"{place}{joint}digest={_digest(content)}", content, octets)
        return {"mediaType": kind, "digest": _digest(content), "size": len(content)}

    def _send(self, method: str, place: str, body: bytes, kind: str) -> str:
        url = place if place.startswith("http") else f"http://{self.name}{place}"
        headers = {"Content-Type": kind, "Content-Length": str(len(body))}
        request = urllib.request.Request(url, data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.headers.get("Location") or "")


@contextmanager
def registry(folder: Path, host: str) -> Iterator[Registry]:
    """distribution's registry over a folder, without TLS."""
    (port,) = free_ports(1)
    told = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": f"{host}:{port}"},
        "log": {"level": "error"},
    }
    config = folder / "config.yaml"
    config.write_text(json.dumps(told))
    line = [from_go(REGISTRY), "serve", str(config)]
    with running(line, f"http://{host}:{port}"):
        yield Registry(f"{host}:{port}")


def trust_without_tls(certificates: Path, name: str) -> None:
    """Tells containerd that this registry answers over plain HTTP."""
    folder = certificates / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'server = "http://{name}"',
        f'[host."http://{name}"]',
        'capabilities = ["pull", "resolve"]',
    ]
    (folder / "hosts.toml").write_text("\n".join(lines) + "\n")


def _layer(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
