"""What can go wrong has a reason of its own and a way out, and is over when its cause is."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

import pytest
from hub_server import Hub

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import parse_source
from kubeembed_weights import FetchError, Meter, fetch, open_copy
from kubeembed_weights.rate_limit import RateLimit
from weightskit import (
    REPOSITORY,
    SOURCE,
    TOTAL,
    WANTED,
    WEIGHTS,
    WEIGHTS_BYTES,
    contents,
    eventually,
    model,
    write_model,
)

Environ = dict[str, str]
SMALL = TOTAL - WEIGHTS_BYTES


def refused(
    root: Path,
    environ: Environ,
    document: EmbeddingModel | None = None,
    progress: Meter | None = None,
) -> FetchError:
    with pytest.raises(FetchError) as failure:
        fetch(document or model(), root, environ=environ, progress=progress)
    return failure.value


def weights_sent(hub: Hub) -> list[tuple[str | None, int]]:
    """(Range, bytes sent) of every request for the large file's content."""
    return [(entry["range"], entry["sent"]) for entry in hub.log.entries(f"/_cdn/*{WEIGHTS}")]


ANSWERS = [
    pytest.param(401, {}, Reason.SOURCE_UNAUTHORIZED, "spec.model.credentialsSecret", id="401"),
    pytest.param(403, {}, Reason.SOURCE_FORBIDDEN, "the token may not read it", id="403"),
    pytest.param(
        403, {"X-Error-Code": "GatedRepo"}, Reason.SOURCE_FORBIDDEN, "ask for access", id="gated"
    ),
    pytest.param(404, {}, Reason.SOURCE_NOT_FOUND, "check spec.model.source", id="404"),
    pytest.param(429, {}, Reason.SOURCE_RATE_LIMITED, "too many requests", id="429"),
    pytest.param(500, {}, Reason.SOURCE_UNAVAILABLE, "answered 500", id="500"),
    pytest.param(503, {}, Reason.SOURCE_UNAVAILABLE, "answered 503", id="503"),
]


@pytest.mark.parametrize("where", ["/api/*", f"/*/resolve/*{WEIGHTS}", f"/_cdn/*{WEIGHTS}"])
@pytest.mark.parametrize(("status", "headers", "reason", "way_out"), ANSWERS)
def test_an_answer_that_is_none_has_its_reason_and_passes_with_its_cause(
    hub: Hub,
    root: Path,
    environ: Environ,
    where: str,
    status: int,
    headers: dict[str, str],
    reason: Reason,
    way_out: str,
) -> None:
    hub.fault(path=where, count=1, status=status, headers=headers, message="no luck")
    failure = refused(root, environ)
    assert failure.reason is reason
    assert SOURCE in failure.message
    assert f"answered {status} (no luck)" in failure.message
    assert way_out in failure.message
    assert fetch(model(), root, environ=environ).bytes == TOTAL


@pytest.mark.parametrize(
    ("source", "revision", "token", "reason", "problem"),
    [
        pytest.param(
            "hf://acme/none",
            None,
            None,
            Reason.SOURCE_UNAUTHORIZED,
            "there is no such repository, or it needs a token",
            id="no repository, no token",
        ),
        pytest.param(
            "hf://acme/none",
            None,
            "t",
            Reason.SOURCE_NOT_FOUND,
            "no such repository; check spec.model.source",
            id="no repository",
        ),
        pytest.param(
            SOURCE,
            "v9",
            None,
            Reason.SOURCE_NOT_FOUND,
            "revision 'v9'.*no such revision; write a branch, tag or commit",
            id="no revision",
        ),
    ],
)
def test_what_is_not_there_is_named(
    hub: Hub,
    root: Path,
    environ: Environ,
    source: str,
    revision: str | None,
    token: str | None,
    reason: Reason,
    problem: str,
) -> None:
    given = environ | ({"HF_TOKEN": token} if token else {})
    with pytest.raises(FetchError, match=problem) as failure:
        fetch(model(source, revision), root, environ=given)
    assert failure.value.reason is reason


def test_a_wrong_token_is_told_from_none_and_never_repeated(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.token = "right"
    assert "it needs a token" in refused(root, environ).message
    wrong = refused(root, environ | {"HF_TOKEN": "hf_wrong"})
    assert wrong.reason is Reason.SOURCE_UNAUTHORIZED
    assert "the token is not accepted" in wrong.message
    assert "hf_wrong" not in wrong.message
    assert fetch(model(), root, environ=environ | {"HF_TOKEN": "right"}).bytes == TOTAL


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry-After": "7"}, 7, id="seconds"),
        pytest.param({"Retry-After": formatdate(time() + 3600, usegmt=True)}, 3600, id="date"),
        pytest.param({"RateLimit": '"api";r=0;t=55'}, 55, id="the hub's own"),
        pytest.param({"Retry-After": "soon"}, None, id="nonsense"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_rate_limit_says_when_to_come_back(
    hub: Hub, root: Path, environ: Environ, headers: dict[str, str], seconds: float | None
) -> None:
    hub.fault(path="/api/*", status=429, headers=headers)
    failure = refused(root, environ)
    assert failure.retry_after == (
        seconds and pytest.approx(seconds, abs=60 if seconds > 60 else 0)
    )


def test_what_a_source_asked_for_is_remembered_but_not_for_ever(root: Path) -> None:
    now = [1000.0]
    root.mkdir()
    limit = RateLimit(root, SOURCE, None, clock=lambda: now[0])
    assert limit.remaining() == 0
    limit.remember(60)
    now[0] += 20
    assert limit.remaining() == 40
    assert RateLimit(root, SOURCE, "other", clock=lambda: now[0]).remaining() == 0
    now[0] += 41
    assert limit.remaining() == 0
    limit.remember(1e9)
    assert limit.remaining() == 3600
    limit.forget()
    assert limit.remaining() == 0


def test_nobody_listening_is_unavailable_and_not_asked_again(root: Path, environ: Environ) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    failure = refused(root, environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}"})
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert f"no connection to http://127.0.0.1:{port}" in failure.message
    assert "check HF_ENDPOINT" in failure.message


def test_a_name_that_does_not_resolve_is_unavailable(root: Path, environ: Environ) -> None:
    failure = refused(root, environ | {"HF_ENDPOINT": "http://hub.invalid"})
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "no connection to http://hub.invalid" in failure.message


def test_a_server_that_is_no_hub_is_told_so(hub: Hub, root: Path, environ: Environ) -> None:
    hub.fault(path="/api/*", status=200)
    failure = refused(root, environ)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert (
        "something that is no listing (KeyError('siblings')); check HF_ENDPOINT" in failure.message
    )


def test_a_hub_that_does_not_answer_is_asked_four_times(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.fault(path="/api/*", hang=True)
    failure = refused(root, environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "0.1"})
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "sent nothing for 0.1 s" in failure.message
    assert len(hub.log.entries()) == 4


@pytest.mark.parametrize("fault", ["truncate", "reset"])
def test_a_body_that_ends_early_is_resumed_where_it_stopped(
    hub: Hub, folder: Path, root: Path, environ: Environ, fault: str
) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=3, **{fault: 500_000})
    copy = fetch(model(), root, environ=environ)
    assert copy.fetched_bytes == TOTAL
    assert (copy.path / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    starts = [int(asked.split("=")[1][:-1]) if asked else 0 for asked, _ in weights_sent(hub)]
    assert len(starts) == 4
    assert starts == sorted(set(starts))
    if fault == "truncate":  # a reset may take bytes with it that were sent but not yet read
        assert weights_sent(hub) == [
            (None, 500_000),
            ("bytes=500000-", 500_000),
            ("bytes=1000000-", 500_000),
            ("bytes=1500000-", 1_500_000),
        ]


def test_a_body_that_always_ends_early_is_truncated_and_the_next_run_goes_on(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.fault(path=f"*{WEIGHTS}", truncate=100_000)
    failure = refused(root, environ)
    assert failure.reason is Reason.SOURCE_TRUNCATED
    assert WEIGHTS in failure.message
    assert len(weights_sent(hub)) == 4
    hub.faults.clear()
    hub.log.clear()
    assert fetch(model(), root, environ=environ).fetched_bytes == WEIGHTS_BYTES - 400_000
    assert weights_sent(hub) == [("bytes=400000-", WEIGHTS_BYTES - 400_000)]


def test_a_body_that_stalls_is_resumed(hub: Hub, root: Path, environ: Environ) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=1_000_000)
    copy = fetch(model(), root, environ=environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "0.2"})
    assert copy.fetched_bytes == TOTAL
    assert weights_sent(hub) == [(None, 1_000_000), ("bytes=1000000-", WEIGHTS_BYTES - 1_000_000)]


def test_a_file_that_is_shorter_than_listed_is_truncated(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.fault(path=f"/_cdn/*{WEIGHTS}", status=416)
    failure = refused(root, environ)
    assert failure.reason is Reason.SOURCE_TRUNCATED
    assert "it is shorter than it was listed" in failure.message


@pytest.mark.parametrize(
    ("path", "algorithm"),
    [pytest.param(WEIGHTS, "sha256", id="sha256"), pytest.param("config.json", "git", id="git")],
)
def test_a_changed_byte_is_found_and_the_file_fetched_anew(
    hub: Hub, folder: Path, commit: str, root: Path, environ: Environ, path: str, algorithm: str
) -> None:
    hub.fault(path=f"*{commit}/{path}", count=1, corrupt=100)
    failure = refused(root, environ)
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert re.match(rf"{path}: expected {algorithm} [0-9a-f]+, got {algorithm} ", failure.message)
    partial = root / ".partial" / weights_key(parse_source(SOURCE), commit)
    assert not (partial / path).exists()
    assert not (partial / f"{path}.part").exists()
    hub.log.clear()
    copy = fetch(model(), root, environ=environ)
    assert contents(copy.path)[path] == contents(folder)[path]
    assert hub.log.sent(f"*{commit}/{path}") == WANTED[path]


def test_a_changed_byte_in_the_resumed_part_is_found(
    hub: Hub, folder: Path, commit: str, root: Path, environ: Environ
) -> None:
    partial = root / ".partial" / weights_key(parse_source(SOURCE), commit)
    partial.mkdir(parents=True)
    (partial / f"{WEIGHTS}.part").write_bytes(b"?" + (folder / WEIGHTS).read_bytes()[1:1000])
    assert refused(root, environ).reason is Reason.CHECKSUM_MISMATCH
    assert weights_sent(hub) == [("bytes=1000-", WEIGHTS_BYTES - 1000)]
    assert contents(fetch(model(), root, environ=environ).path)[WEIGHTS][:1] != b"?"


def test_a_body_longer_than_listed_is_a_mismatch(hub: Hub, root: Path, environ: Environ) -> None:
    hub.fault(path=f"*{WEIGHTS}", extra=5)
    failure = refused(root, environ)
    assert failure.reason is Reason.CHECKSUM_MISMATCH
    assert f"got more than the {WEIGHTS_BYTES} bytes it was listed with" in failure.message


def test_a_part_longer_than_the_file_is_thrown_away(
    hub: Hub, commit: str, root: Path, environ: Environ
) -> None:
    partial = root / ".partial" / weights_key(parse_source(SOURCE), commit)
    partial.mkdir(parents=True)
    (partial / f"{WEIGHTS}.part").write_bytes(bytes(WEIGHTS_BYTES + 1))
    assert fetch(model(), root, environ=environ).fetched_bytes == TOTAL


def test_a_server_without_ranges_is_resumed_all_the_same(
    hub: Hub, folder: Path, root: Path, environ: Environ
) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=1, truncate=1_000_000)
    hub.fault(path=f"*{WEIGHTS}", count=1, ignore_range=True)
    copy = fetch(model(), root, environ=environ)
    assert copy.fetched_bytes == TOTAL
    assert contents(copy.path)[WEIGHTS] == contents(folder)[WEIGHTS]
    assert [sent for _, sent in weights_sent(hub)] == [1_000_000, WEIGHTS_BYTES]


def test_a_proxy_that_compresses_is_named_as_the_cause(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.fault(path="*vocab.txt", encoding="gzip")
    failure = refused(root, environ)
    assert failure.reason is Reason.SOURCE_UNAVAILABLE
    assert "vocab.txt came compressed" in failure.message


def _without(suffix: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.rglob(f"*{suffix}"):
            path.unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(
            _without(".safetensors"),
            "has no *.safetensors at its top level; it has onnx/model.onnx, pytorch_model.bin. Only "
            "safetensors are loaded: convert the weights, or write a spec.model.revision that has them",
            id="only other formats",
        ),
        pytest.param(
            _without("config.json"), "has no config.json at its top level", id="no config.json"
        ),
    ],
)
def test_a_repository_of_no_use_is_refused_before_a_file_is_fetched(
    hub: Hub,
    root: Path,
    environ: Environ,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    problem: str,
) -> None:
    spoilt = write_model(tmp_path / "spoilt")
    spoil(spoilt)
    hub.repositories.add(REPOSITORY, spoilt)
    failure = refused(root, environ)
    assert failure.reason is Reason.NO_USABLE_FILES
    assert problem in failure.message
    assert [entry["path"] for entry in hub.log.entries("/acme/*")] == []


def test_a_disk_too_small_is_refused_before_a_file_is_fetched(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    failure = refused(small_disk, environ)
    assert failure.reason is Reason.DISK_FULL
    assert failure.message.startswith(f"{small_disk}: 3.1 MB are still to come, 2.1 MB are free; ")
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == 0
    ballast.unlink()
    assert fetch(model(), small_disk, environ=environ).fetched_bytes == TOTAL


def test_a_disk_that_fills_up_on_the_way_keeps_what_it_has(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=1_000_000)
    meter = Meter()
    failures: list[FetchError] = []
    fetching = threading.Thread(
        target=lambda: failures.append(refused(small_disk, environ, progress=meter))
    )
    fetching.start()
    eventually(lambda: meter.bytes == SMALL + 1_000_000, "a third of the weights")
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - 500_000))
    hub.faults.clear()
    fetching.join()
    (failure,) = failures
    assert failure.reason is Reason.DISK_FULL
    here = meter.bytes
    (small_disk / "ballast").unlink()
    assert fetch(model(), small_disk, environ=environ).fetched_bytes <= TOTAL - here


def test_a_read_only_cache_is_unwritable_but_still_opened(
    hub: Hub, small_disk: Path, environ: Environ
) -> None:
    fetched = fetch(model(), small_disk, environ=environ)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert fetch(model(), small_disk, environ=environ).path == fetched.path
    failure = refused(small_disk / "other", environ)
    assert failure.reason is Reason.CACHE_UNWRITABLE
    assert "Read-only file system; the cache's volume must be mounted read-write" in failure.message


def test_a_file_in_place_of_the_cache_is_unwritable(hub: Hub, root: Path, environ: Environ) -> None:
    root.write_text("no folder")
    assert refused(root, environ).reason is Reason.CACHE_UNWRITABLE


@pytest.fixture
def as_another_user() -> Iterator[Callable[[], None]]:
    """Drops root's rights for the rest of the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def become() -> None:
        os.setegid(10001)
        os.seteuid(10001)

    yield become
    os.seteuid(0)
    os.setegid(0)


def test_another_user_reads_the_copy_but_can_not_write_the_cache(
    hub: Hub, folder: Path, environ: Environ, as_another_user: Callable[[], None]
) -> None:
    with TemporaryDirectory() as place:  # tmp_path is closed to other users
        os.chmod(place, 0o755)
        copy = fetch(model(), Path(place), environ=environ)
        as_another_user()
        assert open_copy(Path(place), copy.key) == copy.path
        assert contents(copy.path)[WEIGHTS] == (Path(place) / copy.key / WEIGHTS).read_bytes()
        failure = refused(Path(place) / "other", environ)
        assert failure.reason is Reason.CACHE_UNWRITABLE
        assert "writable for user 10001, group 10001 (fsGroup)" in failure.message
        os.seteuid(0)
