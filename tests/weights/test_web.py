"""Weights from a web server over TLS: an archive with its sha256, or files beside their SHA256SUMS."""

import hashlib
import io
import os
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import ADAPTER_FILES, weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Adapter
from kubeembed_weights import Copy, fetch, fetch_adapter
from kubeembed_weights.fetching import resolve
from web_server import WebServer
from weightskit import (
    MEASURE,
    MEMORY_LIMIT_KIB,
    TOTAL,
    WANTED,
    WEIGHTS,
    WEIGHTS_BYTES,
    Command,
    contents,
    document,
    eventually,
    model,
    on_disk,
    refused,
    write_model,
)

Files = dict[str, bytes]


@pytest.fixture
def web(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A server whose certificate this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with WebServer(certificates) as running:
        yield running


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wanted_of(folder: Path) -> Files:
    return {path: content for path, content in contents(folder).items() if path in WANTED}


def tarred(files: Files, mode: str = "w:gz", prefix: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:  # type: ignore[call-overload]
        for path, content in files.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: Files, prefix: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(prefix + path, content)
    return packed.getvalue()


def publish(web: WebServer, content: bytes, path: str = "/models/mini.tar.gz") -> EmbeddingModel:
    """A document of the archive."""
    web.files[path] = content
    return model(f"{web.url}{path}", sha256=sha256(content))


def publish_list(web: WebServer, files: Files) -> str:
    """The source of the files with their list."""
    web.files |= {f"/mini/{path}": content for path, content in files.items()}
    lines = [f"{sha256(content)}  {path}\n" for path, content in files.items()]
    web.files["/mini/SHA256SUMS"] = "".join(lines).encode()
    return f"{web.url}/mini/SHA256SUMS"


PACKED: list[tuple[str, Callable[[Files], bytes]]] = [
    ("m.tar", lambda files: tarred(files, "w")),
    ("m.tar.gz", tarred),
    ("m.tgz", lambda files: tarred(files, prefix="./")),
    ("m.tar.gz", lambda files: tarred(files, prefix="bge-m3/")),
    ("m.zip", zipped),
    ("m.zip", lambda files: zipped(files, prefix="bge-m3/")),
]


@pytest.mark.parametrize(
    ("name", "pack"), PACKED, ids=["tar", "tar.gz", "tgz ./", "tar.gz folder", "zip", "zip folder"]
)
def test_an_archive_is_fetched_once_and_what_is_wanted_of_it_unpacked(
    web: WebServer, folder: Path, root: Path, name: str, pack: Callable[[Files], bytes]
) -> None:
    archive = pack(contents(folder))
    told = publish(web, archive, f"/models/{name}")
    found = resolve(told, environ={})
    copy = fetch(told, root, environ={})
    key = weights_key(told.spec.model.parsed, sha256(archive))
    assert (found.key, found.revision, found.bytes) == (key, sha256(archive), len(archive))
    assert copy == Copy(
        path=root / key,
        key=key,
        revision=sha256(archive),
        bytes=TOTAL,
        fetched_bytes=len(archive),
    )
    assert contents(copy.path) == wanted_of(folder)
    assert web.log.sent() == len(archive)
    web.log.clear()
    assert fetch(told, root, environ={}).fetched_bytes == 0
    assert web.log.entries() == []


def test_another_checksum_is_a_mismatch_and_nothing_is_unpacked(
    web: WebServer, folder: Path, root: Path
) -> None:
    told = publish(web, tarred(contents(folder)))
    web.files["/models/mini.tar.gz"] = tarred(contents(folder) | {"vocab.txt": b"other"})
    failure = refused(root, {}, told)
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert failure.message.startswith(f"mini.tar.gz: expected sha256 {told.spec.model.sha256}, ")
    assert [path for path in root.rglob("*") if path.name in ("config.json", "vocab.txt")] == []


def test_a_download_that_breaks_off_is_resumed(web: WebServer, folder: Path, root: Path) -> None:
    archive = tarred(contents(folder))
    web.fault(path="*.tar.gz", count=2, truncate=1_000_000)
    assert fetch(publish(web, archive), root, environ={}).fetched_bytes == len(archive)
    ranges = [row["range"] for row in web.log.entries() if row["method"] == "GET"]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]
    assert web.log.sent() == len(archive)


def test_a_server_without_ranges_is_resumed_all_the_same(
    web: WebServer, folder: Path, root: Path
) -> None:
    web.fault(path="*.tar.gz", count=1, truncate=1_000_000)
    web.fault(path="*.tar.gz", count=1, ignore_range=True)
    copy = fetch(publish(web, tarred(contents(folder))), root, environ={})
    assert contents(copy.path) == wanted_of(folder)


def test_killed_half_way_the_next_run_fetches_the_rest(
    web: WebServer, certificates: Path, folder: Path, root: Path, tmp_path: Path
) -> None:
    archive = tarred(contents(folder))
    told = publish(web, archive).spec.model
    command = Command(tmp_path, {"KUBEEMBED_CA_CERTIFICATES": str(certificates / "ca.pem")})
    web.fault(path="*.tar.gz", count=1, stall=1_000_000)
    shown = document(told.source, sha256=str(told.sha256))
    killed = command.fetch(root, told=shown)
    eventually(lambda: on_disk(root) == 1_000_000, "a part of the archive")
    killed.kill()
    killed.communicate()
    web.faults.clear()
    web.log.clear()
    ended = command.end(command.fetch(root, told=shown))
    assert ended.report["fetchedBytes"] == len(archive) - 1_000_000
    assert web.log.sent() == len(archive) - 1_000_000


def test_killed_while_unpacking_the_next_run_asks_for_nothing(
    web: WebServer, folder: Path, root: Path
) -> None:
    archive = tarred(contents(folder))
    told = publish(web, archive)
    partial = root / ".partial" / weights_key(told.spec.model.parsed, sha256(archive))
    partial.mkdir(parents=True)
    (partial / "mini.tar.gz").write_bytes(archive)
    (partial / "config.json.part").write_bytes(b"half")
    (partial / "vocab.txt").write_bytes(contents(folder)["vocab.txt"])
    copy = fetch(told, root, environ={})
    assert contents(copy.path) == wanted_of(folder)
    assert (copy.fetched_bytes, web.log.sent()) == (0, 0)


def member(name: str, **fields: object) -> bytes:
    """An archive with a model and one more entry."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in ("config.json", "model.safetensors"):
            info = tarfile.TarInfo(path)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(b""))
    return packed.getvalue()


def linked_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("config.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "archive", "problem"),
    [
        ("a.tgz", member("../evil.json"), "names '../evil.json', which leaves its folder"),
        ("a.tgz", member("/tmp/evil.json"), "names '/tmp/evil.json', which leaves its folder"),
        ("a.tgz", member("x/../../evil.json"), "which leaves its folder"),
        ("a.zip", zipped({"..\\evil.json": b"x"}), "which leaves its folder"),
        (
            "a.tgz",
            member("vocab.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "has vocab.txt, which is a link or no plain file; pack the files themselves (tar --dereference)",
        ),
        ("a.tgz", member("vocab.txt", type=tarfile.LNKTYPE, linkname="config.json"), "is a link"),
        ("a.tgz", member("vocab.txt", type=tarfile.CHRTYPE), "no plain file"),
        ("a.tgz", member("vocab.txt", type=tarfile.FIFOTYPE), "no plain file"),
        ("a.zip", linked_zip(), "is a link"),
        ("a.tgz", member("config.json"), "has config.json twice"),
        ("a.tgz", tarred({"README.md": b"x"}), "has no config.json at its top level"),
        ("a.tgz", b"no archive at all", "can not be unpacked"),
        ("a.tgz", tarred({"config.json": os.urandom(9999)})[:5000], "can not be unpacked"),
        ("a.zip", b"no archive at all", "can not be unpacked"),
    ],
    ids=[
        "climbs", "absolute", "climbs inside", "climbs on Windows", "symbolic link", "hard link",
        "device", "pipe", "link in a zip", "twice", "no model", "no tar", "cut off", "no zip",
    ],
)  # fmt: skip
def test_an_archive_of_no_use_is_refused_and_writes_nothing_outside(
    web: WebServer, root: Path, tmp_path: Path, name: str, archive: bytes, problem: str
) -> None:
    failure = refused(root, {}, publish(web, archive, f"/{name}"))
    assert failure.reason is Reason.NO_USABLE_FILES
    assert problem in failure.message
    assert list(tmp_path.rglob("evil*")) == []
    assert list(root.glob("?" * 32)) == []


@pytest.mark.parametrize("pack", [tarred, zipped], ids=["m.tar.gz", "m.zip"])
def test_a_bomb_is_refused_by_what_it_says_of_itself(
    web: WebServer, small_disk: Path, request: pytest.FixtureRequest, pack: Callable[[Files], bytes]
) -> None:
    bomb = pack({"config.json": b"{}", "model.safetensors": bytes(20 << 20)})
    name = request.node.callspec.id
    failure = refused(small_disk, {}, publish(web, bomb, f"/{name}"))
    assert failure.reason is Reason.DISK_FULL
    assert "21.0 MB are still to come" in failure.message
    assert [path.name for path in small_disk.rglob("*") if path.is_file()].count(name) == 1


def test_memory_does_not_grow_with_the_archive(
    web: WebServer, certificates: Path, folder: Path, root: Path, tmp_path: Path
) -> None:
    large = contents(folder) | {"model-2.safetensors": bytes(200 << 20)}
    told = publish(web, tarred(large)).spec.model
    command = Command(tmp_path, {"KUBEEMBED_CA_CERTIFICATES": str(certificates / "ca.pem")})
    process = command.fetch(
        root,
        told=document(told.source, sha256=str(told.sha256)),
        before=[sys.executable, "-c", MEASURE],
    )
    out, log = process.communicate(timeout=60)
    assert 0 < int(out or 0) < MEMORY_LIMIT_KIB, log


def test_a_list_names_the_files_and_what_is_wanted_of_them_is_fetched_once(
    web: WebServer, folder: Path, root: Path
) -> None:
    source = publish_list(web, contents(folder))
    copy = fetch(model(source), root, environ={})
    assert contents(copy.path) == wanted_of(folder)
    assert copy.revision == sha256(web.files["/mini/SHA256SUMS"])
    got = [row["path"] for row in web.log.entries() if row["method"] == "GET"]
    assert sorted(got) == sorted([f"/mini/{path}" for path in (*WANTED, "SHA256SUMS")])
    web.log.clear()
    assert fetch(model(source), root, environ={}).fetched_bytes == 0
    assert [row["path"] for row in web.log.entries()] == [
        "/mini/SHA256SUMS", *(f"/mini/{path}" for path in sorted(WANTED))
    ]  # fmt: skip
    assert web.log.sent() == len(web.files["/mini/SHA256SUMS"])


def test_a_file_that_is_not_the_listed_one_is_a_mismatch(
    web: WebServer, folder: Path, root: Path
) -> None:
    source = publish_list(web, contents(folder))
    web.fault(path=f"*/{WEIGHTS}", count=1, corrupt=5)
    failure = refused(root, {}, model(source))
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    web.log.clear()
    assert contents(fetch(model(source), root, environ={}).path) == wanted_of(folder)
    assert web.log.sent(f"*/{WEIGHTS}") == WEIGHTS_BYTES


def test_a_pinned_list_is_taken_while_it_is_the_same_and_refused_afterwards(
    web: WebServer, folder: Path, root: Path
) -> None:
    source = publish_list(web, contents(folder))
    pin = sha256(web.files["/mini/SHA256SUMS"])
    copy = fetch(model(source, sha256=pin), root, environ={})
    publish_list(web, contents(folder) | {"vocab.txt": b"other words"})
    web.log.clear()
    assert fetch(model(source, sha256=pin), root, environ={}).path == copy.path
    assert web.log.entries() == []
    failure = refused(root / "other", {}, model(source, sha256=pin))
    assert failure.reason is Reason.SOURCE_CHANGED
    assert f"and not {pin}; write that into spec.model.sha256" in failure.message
    assert fetch(model(source), root, environ={}).key != copy.key


def test_a_list_that_is_none_is_refused(web: WebServer, root: Path) -> None:
    web.files["/mini/SHA256SUMS"] = b"<html>Welcome</html>"
    failure = refused(root, {}, model(f"{web.url}/mini/SHA256SUMS"))
    assert failure.reason is Reason.NO_USABLE_FILES
    assert "line 1 is not of the form that `sha256sum` prints: '<html>" in failure.message


def test_credentials_open_it_and_stay_with_their_host(
    web: WebServer, certificates: Path, folder: Path, root: Path
) -> None:
    told = publish(web, tarred(contents(folder)))
    web.authorization = "Bearer right"
    stranger = refused(root, {}, told)
    assert stranger.reason is Reason.SOURCE_UNAUTHORIZED
    assert "it needs credentials; set spec.model.credentialsSecret" in stranger.message
    wrong = refused(root, {"WEIGHTS_TOKEN": "wrong"}, told)
    assert wrong.reason is Reason.SOURCE_UNAUTHORIZED
    assert "who asks is not accepted" in wrong.message
    assert "Bearer" not in wrong.message
    with WebServer(certificates) as elsewhere:
        elsewhere.files["/blob"] = web.files["/models/mini.tar.gz"]
        web.moved["/models/mini.tar.gz"] = f"{elsewhere.url}/blob"
        fetch(told, root, environ={"WEIGHTS_TOKEN": "right"})
        assert [row["authorized"] for row in elsewhere.log.entries()] == [False, False]
    user = "Basic YWxpY2U6c2VjcmV0"
    web.moved.clear()
    web.authorization = user
    basic = {"WEIGHTS_USERNAME": "alice", "WEIGHTS_PASSWORD": "secret"}
    assert fetch(told, root / "basic", environ=basic).bytes == TOTAL


def test_a_redirect_away_from_tls_is_not_followed(web: WebServer, folder: Path, root: Path) -> None:
    told = publish(web, tarred(contents(folder)))
    web.moved["/models/mini.tar.gz"] = "http://127.0.0.1:9/mini.tar.gz"
    failure = refused(root, {}, told)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "redirects to http://127.0.0.1, where anybody could read along" in failure.message


@pytest.mark.parametrize(
    ("status", "headers", "reason", "wait"),
    [
        (403, {}, Reason.SOURCE_FORBIDDEN, None),
        (404, {}, Reason.SOURCE_NOT_FOUND, None),
        (405, {}, Reason.SOURCE_UNAVAILABLE, None),
        (429, {"Retry-After": "7"}, Reason.SOURCE_RATE_LIMITED, 7),
        (500, {}, Reason.SOURCE_UNAVAILABLE, None),
        (503, {"Retry-After": "9"}, Reason.SOURCE_UNAVAILABLE, 9),
    ],
)
def test_an_answer_that_is_none_has_its_reason_and_passes_with_its_cause(
    web: WebServer,
    folder: Path,
    root: Path,
    status: int,
    headers: dict[str, str],
    reason: Reason,
    wait: float | None,
) -> None:
    told = publish(web, tarred(contents(folder)))
    web.fault(path="*", count=1, status=status, headers=headers)
    failure = refused(root, {}, told)
    assert (failure.reason, failure.retry_after) == (reason, wait)
    assert f"answered {status}" in failure.message
    assert fetch(told, root, environ={}).bytes == TOTAL


def test_a_certificate_that_nobody_trusts_is_unavailable(
    web: WebServer, folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = publish(web, tarred(contents(folder)))
    monkeypatch.delenv("SSL_CERT_FILE")
    failure = refused(root, {}, told)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "weights.caCertificates of the chart" in failure.message


def test_a_server_that_stalls_is_asked_again(web: WebServer, folder: Path, root: Path) -> None:
    told = publish(web, tarred(contents(folder)))
    web.fault(path="*", count=1, stall=1_000_000)
    assert fetch(told, root, environ={"KUBEEMBED_STALL_SECONDS": "0.3"}).bytes == TOTAL


def test_a_disk_too_small_is_refused_before_the_archive_is_fetched(
    web: WebServer, folder: Path, small_disk: Path
) -> None:
    told = publish(web, tarred(contents(folder), "w"), "/m.tar")
    (small_disk / "ballast").write_bytes(bytes(2 << 20))
    assert refused(small_disk, {}, told).reason is Reason.DISK_FULL
    assert web.log.sent() == 0


def test_an_adapter_comes_from_an_archive_as_well(
    web: WebServer, root: Path, tmp_path: Path
) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x" * 2000}
    archive = tarred({**files, "README.md": b"words"}, prefix="legal/")
    told = publish(web, archive, "/legal.tgz").spec.model
    adapter = Adapter(name="legal", source=told.source, sha256=told.sha256)
    copy = fetch_adapter(adapter, root, environ={})
    assert copy.key == weights_key(told.parsed, sha256(archive), ADAPTER_FILES)
    assert contents(copy.path) == files


def test_two_models_in_two_archives_lie_beside_each_other(
    web: WebServer, folder: Path, root: Path, tmp_path: Path
) -> None:
    one = fetch(publish(web, tarred(contents(folder))), root, environ={})
    newer = write_model(tmp_path / "newer", seed=1)
    other = fetch(publish(web, tarred(contents(newer))), root, environ={})
    assert contents(one.path) == wanted_of(folder)
    assert contents(other.path) == wanted_of(newer)
