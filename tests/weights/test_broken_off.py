"""Bodies that end early, stall, or are not what was listed: resumed, or found out."""

import re
from pathlib import Path

import pytest

from hub_server import Hub
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import parse_source
from kubeembed_weights import fetch
from weightskit import (
    SOURCE,
    TOTAL,
    WANTED,
    WEIGHTS,
    WEIGHTS_BYTES,
    contents,
    model,
    refused,
    weights_sent,
)

Environ = dict[str, str]


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
