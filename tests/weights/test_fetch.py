"""A document becomes a complete, verified copy; what is there already costs nothing."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import Hub
from kubeembed_api.document import parse
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.keys import weights_key
from kubeembed_api.reasons import Reason
from kubeembed_api.sources import parse_source
from kubeembed_weights import Copy, FetchError, Meter, fetch, open_copy
from kubeembed_weights.fetching import check, resolve
from weightskit import (
    REPOSITORY,
    SOURCE,
    TOTAL,
    WANTED,
    WEIGHTS,
    contents,
    document,
    model,
    write_model,
)

Environ = dict[str, str]


def wanted_of(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in contents(folder).items() if path in WANTED}


def asked(hub: Hub) -> list[str]:
    return [entry["path"] for entry in hub.log.entries()]


def test_the_copy_holds_what_is_wanted_and_a_manifest(
    hub: Hub, folder: Path, commit: str, root: Path, environ: Environ
) -> None:
    key = weights_key(parse_source(SOURCE), commit)
    copy = fetch(model(), root, environ=environ)
    assert copy == Copy(path=root / key, key=key, revision=commit, bytes=TOTAL, fetched_bytes=TOTAL)
    assert contents(copy.path) == wanted_of(folder)
    assert json.loads((copy.path / ".kubeembed.json").read_text()) == {
        "source": SOURCE,
        "revision": commit,
        "files": {
            path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in wanted_of(folder).items()
        },
    }
    assert list((root / ".partial").iterdir()) == []


def test_each_wanted_file_is_sent_once_and_no_other(
    hub: Hub, commit: str, root: Path, environ: Environ
) -> None:
    fetch(model(), root, environ=environ)
    files = [f"/{REPOSITORY}/resolve/{commit}/{path}" for path in WANTED]
    large = f"/_cdn/{REPOSITORY}/{commit}/{WEIGHTS}"
    assert sorted(asked(hub)) == sorted([f"/api/models/{REPOSITORY}/revision/main", large, *files])
    assert hub.log.sent("/acme/*") + hub.log.sent("/_cdn/*") == TOTAL


def test_a_second_fetch_asks_for_the_listing_alone(hub: Hub, root: Path, environ: Environ) -> None:
    first = fetch(model(), root, environ=environ)
    hub.log.clear()
    again = fetch(model(), root, environ=environ)
    assert (again.path, again.fetched_bytes) == (first.path, 0)
    assert asked(hub) == [f"/api/models/{REPOSITORY}/revision/main"]


def test_a_commit_that_is_in_the_cache_asks_nobody(
    hub: Hub, commit: str, root: Path, environ: Environ
) -> None:
    first = fetch(model(), root, environ=environ)
    hub.log.clear()
    again = fetch(model(revision=commit), root, environ=environ)
    assert (again.path, again.revision, again.fetched_bytes) == (first.path, commit, 0)
    assert asked(hub) == []


def test_a_resolved_document_is_fetched_at_its_commit_after_the_branch_moved(
    hub: Hub, folder: Path, commit: str, root: Path, environ: Environ, tmp_path: Path
) -> None:
    hub.repositories.add(REPOSITORY, write_model(tmp_path / "newer", seed=1))
    key = weights_key(parse_source(SOURCE), commit)
    resolved = parse(document(status={"model": {"revision": commit}, "weights": {"key": key}}))
    copy = fetch(resolved, root, environ=environ)
    assert (copy.key, contents(copy.path)) == (key, wanted_of(folder))


def test_a_revision_that_was_resolved_but_never_fetched_is_resolved_anew(
    hub: Hub, commit: str, root: Path, environ: Environ
) -> None:
    stale = parse(document(status={"model": {"revision": "0" * 40}, "weights": {"key": None}}))
    assert fetch(stale, root, environ=environ).revision == commit


def test_a_document_with_a_key_of_something_else_is_refused(
    hub: Hub, commit: str, root: Path, environ: Environ
) -> None:
    status = {"model": {"revision": commit}, "weights": {"key": "0" * 32}}
    with pytest.raises(InvalidSpec, match=r"status\.weights\.key: 0{32} is not the key of"):
        fetch(parse(document(status=status)), root, environ=environ)


def test_revisions_lie_beside_each_other(
    hub: Hub, folder: Path, root: Path, environ: Environ, tmp_path: Path
) -> None:
    newer = write_model(tmp_path / "newer", seed=1)
    hub.repositories.add(REPOSITORY, newer, "refs/pr/1")
    old = fetch(model(), root, environ=environ)
    new = fetch(model(revision="refs/pr/1"), root, environ=environ)
    assert contents(old.path) == wanted_of(folder)
    assert contents(new.path) == wanted_of(newer)


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(
    hub: Hub, root: Path, environ: Environ
) -> None:
    hub.token = "secret"
    fetch(model(), root, environ=environ | {"HF_TOKEN": "secret"})
    assert [entry["authorized"] for entry in hub.log.entries("/_cdn/*")] == [False]
    assert {entry["authorized"] for entry in hub.log.entries("/a*")} == {True}


def test_everybody_may_read_the_copy(hub: Hub, root: Path, environ: Environ) -> None:
    before = os.umask(0o077)
    try:
        copy = fetch(model(), root, environ=environ)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in copy.path.rglob("*") if path.is_file()}
    folders = {path.stat().st_mode & 0o777 for path in [copy.path, copy.path / "1_Pooling"]}
    assert (modes, folders) == ({0o644}, {0o755})


def test_names_that_climb_out_of_the_folder_are_left_where_they_are(
    hub: Hub, folder: Path, root: Path, environ: Environ
) -> None:
    from hub_files import read_file, read_folder, revision_of

    bad = ["../evil.json", "/tmp/evil.json", "1_x/../../evil.json", "..", ".kubeembed.json"]
    extra = [read_file(folder / "config.json", path) for path in [*bad, "new\nline.json"]]
    hub.repositories.put(REPOSITORY, revision_of([*read_folder(folder), *extra]))
    copy = fetch(model(), root, environ=environ)
    assert contents(copy.path) == wanted_of(folder)
    assert [path.name for path in root.rglob("*evil*")] == []
    assert asked(hub) == [path for path in asked(hub) if "evil" not in path]


def test_a_copy_that_lost_a_file_is_replaced(
    hub: Hub, folder: Path, root: Path, environ: Environ
) -> None:
    copy = fetch(model(), root, environ=environ)
    (copy.path / WEIGHTS).write_bytes(b"short")
    with pytest.raises(FetchError, match="has 5 bytes instead of 3000000") as missing:
        open_copy(root, copy.key)
    assert missing.value.reason is Reason.WEIGHTS_MISSING
    assert fetch(model(), root, environ=environ).fetched_bytes == TOTAL
    assert contents(open_copy(root, copy.key)) == wanted_of(folder)


@pytest.mark.parametrize("key", ["0" * 32, "..", "", "0" * 32 + "/x"])
def test_a_copy_that_is_not_there_is_missing(root: Path, key: str) -> None:
    root.mkdir()
    with pytest.raises(FetchError, match="no copy of the weights at") as missing:
        open_copy(root, key)
    assert missing.value.reason is Reason.WEIGHTS_MISSING


def test_resolving_finds_commit_key_and_size_without_a_cache(
    hub: Hub, commit: str, environ: Environ
) -> None:
    found = resolve(model(), environ=environ)
    key = weights_key(parse_source(SOURCE), commit)
    assert (found.revision, found.key, found.bytes) == (commit, key, TOTAL)
    assert len(asked(hub)) == 1


def test_a_local_folder_is_opened_in_place_under_a_key_of_its_content(
    folder: Path, root: Path, tmp_path: Path
) -> None:
    same, other = write_model(tmp_path / "same"), write_model(tmp_path / "other", seed=1)
    copies = [fetch(model(f"file://{place}"), root) for place in (folder, same, other)]
    assert [copy.path for copy in copies] == [folder, same, other]
    assert [copy.bytes for copy in copies] == [TOTAL] * 3
    assert copies[0].key == copies[1].key != copies[2].key
    assert not root.exists()


def test_a_claim_of_the_users_is_checked_and_opened_where_it_is_mounted(
    folder: Path, tmp_path: Path
) -> None:
    claim = model("pvc://models/mini")
    key = weights_key(parse_source("pvc://models/mini"), "")
    assert check(claim, folder) == Copy(path=folder, key=key, revision=None, bytes=TOTAL)
    mounted = write_model(tmp_path / key)
    assert open_copy(tmp_path, key) == mounted


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("pvc://models/mini", "pvc://models/mini is mounted by a cluster .* write file:///path"),
        (f"oci://r/i@sha256:{'0' * 64}", "is mounted by a cluster .* write file:///path"),
    ],
)
def test_sources_that_can_not_be_fetched_say_what_to_write(
    root: Path, source: str, problem: str
) -> None:
    with pytest.raises(FetchError, match=problem) as refused:
        fetch(model(source), root, environ={})
    assert refused.value.reason is Reason.NOT_SUPPORTED_YET


def test_the_meter_ends_at_the_total(hub: Hub, root: Path, environ: Environ) -> None:
    meter = Meter()
    fetch(model(), root, progress=meter, environ=environ)
    told = meter.read()
    assert (told.bytes, told.total, meter.fetched) == (TOTAL, TOTAL, TOTAL)
    assert told.rate > 0


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = [0.0]
    meter = Meter(clock=lambda: now[0])
    meter.expect(10_000)
    for rate in (1000, 10):
        for _ in range(15):
            now[0] += 1
            meter.add(rate)
    now[0] += 1
    # 20 samples of 10 and 1000 bytes, one second apart, and a second in which nothing came.
    assert meter.read().rate == pytest.approx((4 * 1000 + 15 * 10) / 20)


def test_opening_a_copy_loads_no_http_library() -> None:
    heavy = "('httpx2', 'huggingface_hub', 'obstore', 'torch', 'aiohttp')"
    line = f"import kubeembed_weights, sys; print([m for m in {heavy} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
