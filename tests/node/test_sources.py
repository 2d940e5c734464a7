"""Sources other than the hub on the real node: who holds what, and that a change of it heals."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodekit import Hub, Kube, Manifest
from storekit import RIGHT, WRONG, Bucket, StoreProxy, s3_store
from web_server import WebServer
from weightskit import contents

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Model = Callable[..., Manifest]

ASLEEP = {"scaling": {"mode": "External", "replicas": 0}}


@pytest.fixture
def bucket(info: dict[str, Any], weights: Path, tmp_path: Path) -> Iterator[Bucket]:
    """The real all-MiniLM-L6-v2 in a real S3, which the node reaches through a proxy."""
    with s3_store(tmp_path) as store, StoreProxy(store.url, info["hostAddress"]) as proxy:
        made = Bucket("s3", store, proxy, "minilm")
        for path in ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json"):
            made.put(path, (weights / path).read_bytes())
        made.put("model.safetensors", (weights / "model.safetensors").read_bytes())
        yield made


def secret(name: str, data: dict[str, str]) -> Manifest:
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def test_a_bucket_is_read_with_the_keys_of_a_secret_and_rotated_ones_are_taken_up(
    kube: Kube, model: Model, bucket: Bucket, hub: Hub
) -> None:
    fields = {**bucket.fields, "credentialsSecret": "s3-keys"}
    source = fields.pop("source")
    kube.apply(model(source=source, model=fields, **ASLEEP))
    failed = kube.wait_reason("minilm", "WeightsReady", "SecretMissing", 120)
    assert "s3-keys" in failed["message"]
    kube.apply(secret("s3-keys", WRONG["s3"]))
    failed = kube.wait_reason("minilm", "WeightsReady", "SourceUnauthorized", 120)
    assert "AWS_SECRET_ACCESS_KEY" in failed["message"]
    kube.apply(secret("s3-keys", RIGHT["s3"]))
    kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)
    size = kube.get("em", "minilm")["status"]["weights"]["bytes"]
    assert (bucket.sent(), hub.log()) == (size, [])
    deployment = kube.get("deployment", "minilm")
    assert "s3-keys" not in str(deployment["spec"])


def test_a_model_from_a_bucket_is_served(kube: Kube, model: Model, bucket: Bucket) -> None:
    kube.apply(secret("s3-keys", RIGHT["s3"]))
    fields = {**bucket.fields, "credentialsSecret": "s3-keys"}
    kube.apply(model(source=fields.pop("source"), model=fields))
    assert kube.wait_served("minilm")["status"]["model"]["dimensions"] == 384


def test_an_archive_comes_from_a_web_server_of_a_private_ca(
    kube: Kube, model: Model, info: dict[str, Any], weights: Path, certificates: Path, hub: Hub
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in contents(weights).items():
            member = tarfile.TarInfo(f"minilm/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = packed.getvalue()
    checksum = hashlib.sha256(archive).hexdigest()
    with WebServer(certificates, host=info["hostAddress"]) as web:
        web.files["/minilm.tar"] = archive
        source = f"{web.url}/minilm.tar"
        kube.apply(model(source=source, model={"sha256": checksum}, **ASLEEP))
        kube.wait_reason("minilm", "WeightsReady", "Fetched", 300)
        assert kube.get("em", "minilm")["status"]["weights"]["revision"] == checksum
        assert (web.log.sent(), hub.log()) == (len(archive), [])


def test_the_fetch_runs_as_the_account_of_the_document(
    kube: Kube, model: Model, bucket: Bucket
) -> None:
    kube.ctl("create", "serviceaccount", "model-reader")
    fields = {**bucket.fields, "serviceAccountName": "model-reader"}
    kube.apply(model(source=fields.pop("source"), model=fields, **ASLEEP))
    failed = kube.wait_reason("minilm", "WeightsReady", "SourceUnauthorized", 120)
    assert "nobody is named who asks" in failed["message"]  # no webhook of a cloud is here
    [pod] = [p for p in kube.list("pods") if p["metadata"]["name"].startswith("minilm-fetch")]
    assert pod["spec"]["serviceAccountName"] == "model-reader"
    mounted = [volume for volume in pod["spec"]["volumes"] if "projected" in volume]
    assert mounted == []
