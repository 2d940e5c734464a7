"""Weights from object stores: versitygw for s3://, fake-gcs-server for gs://, Azurite for az://, each real.

A proxy before the store counts what it sends and spoils it on demand; what is tested is the copy on disk.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Adapter
from kubeembed_weights import Copy, fetch, fetch_adapter
from kubeembed_weights.fetching import resolve
from storekit import WRONG, Bucket
from weightskit import TOTAL, WANTED, WEIGHTS, WEIGHTS_BYTES, contents, model, refused, write_model

pytestmark = pytest.mark.stores

Environ = dict[str, str]

HALF = WEIGHTS_BYTES // 2
STALL = {"KUBEEMBED_STALL_SECONDS": "0.3"}


def told(bucket: Bucket, **fields: str) -> EmbeddingModel:
    return model(**{**bucket.fields, **fields})


def wanted_of(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in contents(folder).items() if path in WANTED}


def write_sums(bucket: Bucket, folder: Path, without: str = "") -> None:
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  ./{path}\n"
        for path, content in contents(folder).items()
        if path != without
    ]
    bucket.put("SHA256SUMS", "".join(lines).encode())


def test_the_copy_holds_what_is_wanted_and_each_file_is_sent_once(
    bucket: Bucket, keys: Environ, folder: Path, root: Path
) -> None:
    copy = fetch(told(bucket), root, environ=keys)
    assert contents(copy.path) == wanted_of(folder)
    assert copy.revision is not None
    key = weights_key(told(bucket).spec.model.parsed, copy.revision)
    assert copy == Copy(
        path=root / key, key=key, revision=copy.revision, bytes=TOTAL, fetched_bytes=TOTAL
    )
    manifest = json.loads((copy.path / ".kubeembed.json").read_text())
    assert (manifest["source"], manifest["revision"]) == (bucket.source, copy.revision)
    assert manifest["files"][WEIGHTS]["sha256"] == sha256(folder / WEIGHTS)
    assert {path: bucket.ranges(path) for path in WANTED} == {path: [None] for path in WANTED}
    assert bucket.sent() == TOTAL


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_there_costs_a_listing_and_a_pinned_revision_nothing(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    first = fetch(told(bucket), root, environ=keys)
    bucket.proxy.log.clear()
    assert fetch(told(bucket), root, environ=keys).fetched_bytes == 0
    assert bucket.sent() == 0
    bucket.proxy.log.clear()
    pinned = told(bucket, revision=str(first.revision))
    assert fetch(pinned, root, environ=keys).path == first.path
    assert bucket.proxy.log.entries() == []


def test_resolving_finds_revision_key_and_size_without_a_cache(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    found = resolve(told(bucket), environ=keys)
    copy = fetch(told(bucket), root, environ=keys)
    assert (found.revision, found.key, found.bytes) == (copy.revision, copy.key, TOTAL)


def test_a_changed_file_is_another_revision_and_one_that_is_not_wanted_is_not(
    bucket: Bucket, keys: Environ, folder: Path, root: Path
) -> None:
    old = fetch(told(bucket), root, environ=keys)
    bucket.put("README.md", b"other words")
    assert fetch(told(bucket), root, environ=keys).key == old.key
    bucket.put("vocab.txt", b"other words")
    new = fetch(told(bucket), root, environ=keys)
    assert new.key != old.key
    assert contents(old.path) == wanted_of(folder)
    assert contents(new.path) == wanted_of(folder) | {"vocab.txt": b"other words"}


def test_a_pinned_revision_that_is_gone_is_refused(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    pinned = told(bucket, revision=str(resolve(told(bucket), environ=keys).revision))
    bucket.put("vocab.txt", b"other words")
    failure = refused(root, keys, pinned)
    assert failure.reason is Reason.SOURCE_CHANGED
    assert "spec.model.revision" in failure.message
    assert bucket.sent() == 0


def test_a_file_that_changes_under_the_fetch_gives_no_mixed_copy(
    bucket: Bucket, keys: Environ, root: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other", seed=1)
    bucket.proxy.fault(path=f"*{WEIGHTS}", count=1, truncate=HALF)
    original = bucket.proxy.faults.take

    def take(path: str, *, body: bool) -> Any:
        fault = original(path, body=body)
        if fault is not None:  # half of the old weights are out: now come the new
            bucket.upload(other)
        return fault

    bucket.proxy.faults.take = take  # type: ignore[method-assign]
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.SOURCE_CHANGED
    assert list(root.glob("?" * 32)) == []
    assert list((root / ".partial").iterdir()) == []
    copy = fetch(told(bucket), root, environ=keys)
    assert contents(copy.path) == wanted_of(other)


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_a_body_that_ends_early_is_resumed_where_it_stopped(
    bucket: Bucket, keys: Environ, folder: Path, root: Path, fault: str
) -> None:
    bucket.proxy.fault(path=f"*{WEIGHTS}", count=3, **{fault: 500_000})
    copy = fetch(told(bucket), root, environ=keys)
    assert copy.fetched_bytes == TOTAL
    assert contents(copy.path) == wanted_of(folder)
    asked = bucket.ranges(WEIGHTS)
    starts = [int(each.split("=")[1].split("-")[0]) if each else 0 for each in asked]
    assert len(starts) == 4
    if fault == "truncate":
        assert starts == [0, 500_000, 1_000_000, 1_500_000]
        assert bucket.sent(WEIGHTS) == WEIGHTS_BYTES


def test_a_body_that_stalls_is_resumed(bucket: Bucket, keys: Environ, root: Path) -> None:
    bucket.proxy.fault(path=f"*{WEIGHTS}", count=1, stall=1_000_000)
    copy = fetch(told(bucket), root, environ=keys | STALL)
    assert copy.fetched_bytes == TOTAL
    assert len(bucket.ranges(WEIGHTS)) == 2


def test_a_body_that_always_ends_early_is_truncated_and_the_next_run_goes_on(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    bucket.proxy.fault(path=f"*{WEIGHTS}", truncate=100_000)
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.SOURCE_TRUNCATED
    assert WEIGHTS in failure.message
    bucket.proxy.faults.clear()
    bucket.proxy.log.clear()
    assert fetch(told(bucket), root, environ=keys).fetched_bytes == WEIGHTS_BYTES - 400_000


ANSWERS = [
    pytest.param(401, Reason.SOURCE_UNAUTHORIZED, "spec.model.credentialsSecret", id="401"),
    pytest.param(404, Reason.SOURCE_NOT_FOUND, "check spec.model.source", id="404"),
    pytest.param(429, Reason.SOURCE_RATE_LIMITED, "too many requests", id="429"),
    pytest.param(500, Reason.SOURCE_UNAVAILABLE, "answered 500", id="500"),
    pytest.param(503, Reason.SOURCE_RATE_LIMITED, "SlowDown", id="throttled"),
]


@pytest.mark.parametrize("where", ["listing", "file"])
@pytest.mark.parametrize(("status", "reason", "way_out"), ANSWERS)
def test_an_answer_that_is_none_has_its_reason_and_passes_with_its_cause(
    bucket: Bucket,
    keys: Environ,
    root: Path,
    where: str,
    status: int,
    reason: Reason,
    way_out: str,
) -> None:
    path = f"*/{WEIGHTS}" if where == "file" else "/*"
    bucket.proxy.fault(path=path, status=status, message="no luck")
    failure = refused(root, keys, told(bucket))
    assert failure.reason is reason
    assert bucket.source in failure.message
    assert "no luck" in failure.message
    assert way_out in failure.message
    bucket.proxy.faults.clear()
    assert fetch(told(bucket), root, environ=keys).bytes == TOTAL


def test_a_server_error_that_passes_is_not_noticed(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=2, status=500)
    assert fetch(told(bucket), root, environ=keys).fetched_bytes == TOTAL


def test_a_store_that_does_not_answer_is_unavailable(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    bucket.proxy.fault(path="*", hang=True)
    failure = refused(root, keys | STALL, told(bucket))
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert len(bucket.proxy.log.entries()) == 4


def test_nobody_listening_is_unavailable(bucket: Bucket, keys: Environ, root: Path) -> None:
    account = "/account" if bucket.scheme == "az" else ""
    closed = told(bucket, endpoint=f"http://127.0.0.1:9{account}")
    failure = refused(root, keys, closed)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "no connection to 127.0.0.1; check spec.model.endpoint" in failure.message


def test_a_folder_and_a_bucket_that_are_not_there_are_named(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    missing_bucket = [f"{bucket.scheme}://none/{bucket.path}"]
    if bucket.scheme == "gs":  # where the emulator answers 500
        missing_bucket = []
    for missing in (bucket.source + "-none", *missing_bucket):
        failure = refused(root, keys, told(bucket, source=missing))
        assert failure.reason is Reason.SOURCE_NOT_FOUND
        assert f"{missing}: " in failure.message
        assert "check spec.model.source" in failure.message


def test_a_folder_without_a_model_is_refused_before_a_file_is_fetched(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    bucket.delete("config.json")
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.NO_USABLE_FILES
    assert "has no config.json at its top level" in failure.message
    assert bucket.sent() == 0


@pytest.mark.parametrize("store", ["s3", "az"], indirect=True)
def test_wrong_credentials_are_refused_and_the_right_ones_go_on_where_it_was(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    stranger = refused(root, {}, told(bucket))
    assert stranger.reason in (Reason.SOURCE_UNAUTHORIZED, Reason.SOURCE_NOT_FOUND)
    assert "spec.model.credentialsSecret" in stranger.message
    bucket.proxy.fault(path=f"*{WEIGHTS}", truncate=100_000)
    refused(root, keys, told(bucket))  # leaves a part, with credentials that now are taken back
    wrong = refused(root, WRONG[bucket.scheme], told(bucket))
    assert wrong.reason is Reason.SOURCE_UNAUTHORIZED
    assert "who asks is not accepted" in wrong.message
    bucket.proxy.faults.clear()
    assert fetch(told(bucket), root, environ=keys).fetched_bytes == WEIGHTS_BYTES - 400_000


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_changed_byte_is_found_by_the_md5_and_the_file_fetched_anew(
    bucket: Bucket, keys: Environ, folder: Path, root: Path
) -> None:
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=1, corrupt=100)
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert f"{WEIGHTS}: expected md5 " in failure.message
    bucket.proxy.log.clear()
    assert contents(fetch(told(bucket), root, environ=keys).path) == wanted_of(folder)
    assert bucket.sent(WEIGHTS) == WEIGHTS_BYTES  # small files may not have been through at its end


def test_a_changed_byte_is_found_by_the_list_of_checksums(
    bucket: Bucket, keys: Environ, folder: Path, root: Path
) -> None:
    write_sums(bucket, folder)
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=1, corrupt=100)
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert f"{WEIGHTS}: expected sha256 {sha256(folder / WEIGHTS)}" in failure.message
    assert contents(fetch(told(bucket), root, environ=keys).path) == wanted_of(folder)


def test_a_list_of_checksums_has_to_name_every_file(
    bucket: Bucket, keys: Environ, folder: Path, root: Path
) -> None:
    write_sums(bucket, folder, without="vocab.txt")
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert "SHA256SUMS has no line for vocab.txt" in failure.message
    bucket.put("SHA256SUMS", b"deadbeef  vocab.txt\n")
    failure = refused(root, keys, told(bucket))
    assert failure.reason is Reason.NO_USABLE_FILES
    assert "line 1 is not of the form that `sha256sum` prints" in failure.message


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_the_etag_of_what_a_kms_key_encrypts_is_not_taken_for_a_checksum(
    bucket: Bucket, keys: Environ, root: Path
) -> None:
    encrypted = {"x-amz-server-side-encryption": "aws:kms"}
    bucket.proxy.fault(path="*/config.json", count=1, status=200, headers=encrypted)  # the HEAD
    bucket.proxy.fault(path=f"*/{WEIGHTS}", count=1, corrupt=100)
    assert fetch(told(bucket), root, environ=keys).fetched_bytes == TOTAL


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_bucket_of_another_region_is_named(bucket: Bucket, keys: Environ, root: Path) -> None:
    failure = refused(root, keys, told(bucket, region="eu-central-1"))
    assert failure.reason is Reason.SOURCE_NOT_FOUND
    assert "write spec.model.region: us-east-1" in failure.message


def test_a_disk_too_small_is_refused_before_a_file_is_fetched(
    bucket: Bucket, keys: Environ, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    failure = refused(small_disk, keys, told(bucket))
    assert failure.reason is Reason.DISK_FULL
    assert bucket.sent() == 0
    ballast.unlink()
    assert fetch(told(bucket), small_disk, environ=keys).fetched_bytes == TOTAL


def test_an_adapter_comes_from_a_bucket_as_well(bucket: Bucket, keys: Environ, root: Path) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 2000}
    for path, content in files.items():
        bucket.put(path, content)
    adapter = Adapter.model_validate({"name": "legal", **bucket.fields})
    copy = fetch_adapter(adapter, root, environ=keys)
    assert contents(copy.path) == files
    assert bucket.sent() == 2002
