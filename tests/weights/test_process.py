"""kubeembed-weights as kubelet runs it: killed, stopped, two at once, its report, its port, its memory."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hub_server import Hub
from kubeembed_api.keys import weights_key
from kubeembed_api.sources import parse_source
from runtimekit import free_ports
from weightskit import (
    MEASURE,
    MEMORY_LIMIT_KIB,
    REPOSITORY,
    SOURCE,
    TOTAL,
    WEIGHTS,
    WEIGHTS_BYTES,
    Command,
    document,
    eventually,
    on_disk,
    write_model,
)

HALF = WEIGHTS_BYTES // 2


def fetched_report(commit: str, fetched_bytes: int) -> dict[str, Any]:
    return {
        "reason": "Fetched",
        "message": "",
        "key": weights_key(parse_source(SOURCE), commit),
        "revision": commit,
        "bytes": TOTAL,
        "fetchedBytes": fetched_bytes,
    }


def half_way(hub: Hub, command: Command, root: Path) -> "subprocess.Popen[str]":
    """A fetch that has half of the weights on disk, and everything else, and waits for more."""
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=HALF)
    process = command.fetch(root)

    here = TOTAL - WEIGHTS_BYTES + HALF
    eventually(lambda: on_disk(root) == here, "half of the weights on disk")
    return process


def files_sent(hub: Hub) -> int:
    return hub.log.sent(f"/{REPOSITORY}/*") + hub.log.sent("/_cdn/*")


def test_the_report_is_the_last_word(hub: Hub, commit: str, command: Command, root: Path) -> None:
    ended = command.end(command.fetch(root))
    assert (ended.code, ended.report) == (0, fetched_report(commit, TOTAL))
    again = command.end(command.fetch(root))
    assert (again.code, again.report) == (0, fetched_report(commit, 0))
    assert files_sent(hub) == TOTAL


def test_resolving_writes_nothing(hub: Hub, commit: str, command: Command, root: Path) -> None:
    ended = command.end(command.fetch(root, "--resolve-only"))
    assert (ended.code, ended.report) == (0, fetched_report(commit, 0))
    assert not root.exists()
    assert files_sent(hub) == 0


def test_killed_half_way_the_next_run_fetches_the_rest(
    hub: Hub, folder: Path, commit: str, command: Command, root: Path
) -> None:
    process = half_way(hub, command, root)
    process.kill()
    process.wait()
    hub.faults.clear()
    hub.log.clear()
    ended = command.end(command.fetch(root))
    assert ended.report == fetched_report(commit, WEIGHTS_BYTES - HALF)
    assert files_sent(hub) == WEIGHTS_BYTES - HALF
    copy = root / str(ended.report["key"])
    assert (copy / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_told_to_stop_it_ends_at_once_and_keeps_its_part(
    hub: Hub, commit: str, command: Command, root: Path
) -> None:
    process = half_way(hub, command, root)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=10)
    assert time.monotonic() - asked < 3
    assert process.returncode == 128 + signal.SIGTERM
    hub.faults.clear()
    ended = command.end(command.fetch(root))
    assert ended.report == fetched_report(commit, WEIGHTS_BYTES - HALF)


def waiting_for_another(command: Command, root: Path) -> "subprocess.Popen[str]":
    process = command.fetch(root)
    assert process.stderr is not None
    assert any("waiting for it" in line for line in process.stderr)
    return process


def test_of_two_at_once_one_fetches_and_the_other_waits(
    hub: Hub, commit: str, command: Command, root: Path
) -> None:
    first = half_way(hub, command, root)
    second = waiting_for_another(command, root)
    hub.faults.clear()
    assert command.end(first).report == fetched_report(commit, TOTAL)
    assert command.end(second).report == fetched_report(commit, 0)
    assert files_sent(hub) == TOTAL


def test_the_one_that_waits_goes_on_where_the_other_was_killed(
    hub: Hub, commit: str, command: Command, root: Path
) -> None:
    first = half_way(hub, command, root)
    second = waiting_for_another(command, root)
    first.kill()
    assert command.end(second).report == fetched_report(commit, WEIGHTS_BYTES - HALF)


def test_progress_is_told_on_the_admin_port(hub: Hub, command: Command, root: Path) -> None:
    (port,) = free_ports(1)
    hub.fault(path=f"*{WEIGHTS}", count=1, stall=HALF)
    process = command.start("fetch", "--root", root, "--admin-port", str(port))

    def told(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            return b"{}"

    here = TOTAL - WEIGHTS_BYTES + HALF
    eventually(lambda: json.loads(told("/progress")).get("bytes") == here, "progress half-way")
    assert json.loads(told("/progress"))["total"] == TOTAL
    assert told("/livez") == b"ok\n"
    process.kill()


def test_an_admin_port_that_is_taken_costs_the_progress_alone(
    hub: Hub, commit: str, command: Command, root: Path
) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = command.end(command.start("fetch", "--root", root, "--admin-port", port))
    assert ended.report == fetched_report(commit, TOTAL)
    assert f"no progress on port {port}" in ended.log


def test_the_next_start_waits_as_long_as_the_hub_asked_the_last_one_to(
    hub: Hub, commit: str, command: Command, root: Path
) -> None:
    root.mkdir()
    hub.fault(path="/api/*", count=1, status=429, headers={"Retry-After": "8"})
    limited = command.end(command.fetch(root))
    assert limited.code == 1
    assert (limited.report["reason"], limited.report["retryAfterSeconds"]) == (
        "SourceRateLimited",
        8.0,
    )
    (remembered,) = (root / ".requests").iterdir()
    not_before = json.loads(remembered.read_text())["notBefore"]
    ended = command.end(command.fetch(root))
    assert ended.report == fetched_report(commit, TOTAL)
    assert time.time() >= not_before
    assert "as the source asked an earlier attempt to" in ended.log
    assert not remembered.exists()


def test_a_failure_is_reported_with_its_reason(hub: Hub, command: Command, root: Path) -> None:
    hub.fault(path="/api/*", status=500)
    ended = command.end(command.fetch(root))
    assert ended.code == 1
    assert ended.report["reason"] == "SourceUnavailable"
    assert "answered 500" in ended.report["message"]
    assert "Traceback" not in ended.log


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        pytest.param(document("ftp://x"), "spec.model.source: 'ftp://x' is no source", id="source"),
        pytest.param(["no", "model"], "holds no EmbeddingModel", id="no document"),
    ],
)
def test_a_wrong_document_is_reported(
    command: Command, root: Path, told: object, problem: str
) -> None:
    ended = command.end(command.start("fetch", "--root", root, "--admin-port", "0", told=told))
    assert (ended.code, ended.report["reason"]) == (1, "InvalidSpec")
    assert problem in ended.report["message"]


def test_a_folder_is_checked(command: Command, folder: Path, tmp_path: Path) -> None:
    source = "pvc://models/mini"
    good = command.end(command.start("check", "--path", folder, told=document(source)))
    key = weights_key(parse_source(source), "")
    told = {"reason": "Fetched", "message": "", "key": key, "bytes": TOTAL, "fetchedBytes": 0}
    assert (good.code, good.report) == (0, told)
    empty = tmp_path / "empty"
    empty.mkdir()
    bad = command.end(command.start("check", "--path", empty, told=document(source)))
    assert (bad.code, bad.report["reason"]) == (1, "NoUsableFiles")
    assert "it has no files at all" in bad.report["message"]


def test_memory_does_not_grow_with_the_weights(
    hub: Hub, command: Command, root: Path, tmp_path: Path
) -> None:
    large = write_model(tmp_path / "large")
    for number in range(4):
        with (large / f"model-{number}.safetensors").open("wb") as sparse:
            sparse.truncate(50 << 20)
    hub.repositories.add(REPOSITORY, large)
    out, log = command.fetch(root, before=[sys.executable, "-c", MEASURE]).communicate(timeout=60)
    assert 0 < int(out or 0) < MEMORY_LIMIT_KIB, log
    assert files_sent(hub) == TOTAL + (200 << 20)
