"""The test hub answers as the real one: proven with huggingface_hub, which knows only the real one."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub_server import Hub
from weightskit import REPOSITORY, WEIGHTS, WEIGHTS_BYTES, contents, write_model

HUB = Path(__file__).parents[1] / "hub"


def control(url: str, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_snapshot_download_gets_every_file_as_it_is(hub: Hub, folder: Path, tmp_path: Path) -> None:
    got = snapshot_download(REPOSITORY, endpoint=hub.url, local_dir=tmp_path / "got", token="t")
    files = {p: c for p, c in contents(Path(got)).items() if not p.startswith(".cache/")}
    assert files == contents(folder)


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub: Hub, tmp_path: Path) -> None:
    snapshot_download(REPOSITORY, endpoint=hub.url, local_dir=tmp_path / "got", token="t")
    assert {entry["authorized"] for entry in hub.log.entries("/_cdn/*")} == {False}
    assert {entry["authorized"] for entry in hub.log.entries("/acme/*")} == {True}


def test_model_info_lists_sizes_and_checksums(hub: Hub, commit: str) -> None:
    told = HfApi(endpoint=hub.url, token=False).model_info(REPOSITORY, files_metadata=True)
    assert told.sha == commit
    weights = {sibling.rfilename: sibling for sibling in told.siblings or []}[WEIGHTS]
    assert weights.size == WEIGHTS_BYTES
    assert weights.lfs is not None
    assert len(weights.lfs["sha256"]) == 64


def test_an_old_commit_is_served_after_the_branch_has_moved(
    hub: Hub, folder: Path, commit: str, tmp_path: Path
) -> None:
    newer = hub.repositories.add(REPOSITORY, write_model(tmp_path / "newer", seed=1))
    api = HfApi(endpoint=hub.url, token=False)
    assert api.model_info(REPOSITORY).sha == newer != commit
    got = snapshot_download(
        REPOSITORY, revision=commit, endpoint=hub.url, local_dir=tmp_path / "got", token=False
    )
    assert (Path(got) / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("repository", "revision", "token", "error"),
    [
        pytest.param("acme/none", None, "t", RepositoryNotFoundError, id="no repository"),
        pytest.param("acme/none", None, False, HfHubHTTPError, id="no repository, stranger"),
        pytest.param(REPOSITORY, "none", False, RevisionNotFoundError, id="no revision"),
    ],
)
def test_what_is_not_there_is_told_as_the_hub_tells_it(
    hub: Hub, repository: str, revision: str | None, token: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        HfApi(endpoint=hub.url, token=token).model_info(repository, revision=revision)


def test_faults_are_what_huggingface_hub_takes_them_for(hub: Hub) -> None:
    api = HfApi(endpoint=hub.url, token=False)
    hub.fault(path="/api/*", count=1, status=403, headers={"X-Error-Code": "GatedRepo"})
    hub.fault(path="/api/*", count=1, status=429, headers={"Retry-After": "7"})
    with pytest.raises(GatedRepoError):
        api.model_info(REPOSITORY)
    with pytest.raises(HfHubHTTPError) as limited:
        api.model_info(REPOSITORY)
    assert limited.value.response.headers["Retry-After"] == "7"
    assert api.model_info(REPOSITORY).id == REPOSITORY


def test_the_hub_runs_as_a_process_and_is_controlled_over_http(
    folder: Path, tmp_path: Path
) -> None:
    line = [sys.executable, str(HUB), "--port", "0", "--repo", f"{REPOSITORY}={folder}"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = next(
            line.split("HF_ENDPOINT=")[1].strip() for line in process.stderr if "HF_EN" in line
        )
        fault = json.loads(control(url, "POST", "/_faults", {"path": "/api/*", "status": 500}))
        assert json.loads(control(url, "GET", "/_faults")) == [fault]
        control(url, "DELETE", "/_faults")
        moved = {"repository": REPOSITORY, "folder": str(write_model(tmp_path / "newer", seed=1))}
        commit = json.loads(control(url, "POST", "/_repos", moved))["commit"]
        assert HfApi(endpoint=url, token=False).model_info(REPOSITORY).sha == commit
        (entry,) = [json.loads(line) for line in control(url, "GET", "/_log").splitlines()]
        assert (entry["path"], entry["status"]) == (f"/api/models/{REPOSITORY}", 200)
        control(url, "DELETE", "/_log")
        assert control(url, "GET", "/_log") == ""
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_hub_explains_itself() -> None:
    told = subprocess.run(
        [sys.executable, HUB, "--help"], capture_output=True, text=True, check=True
    )
    assert "--repo ORG/NAME[@REVISION]=FOLDER" in told.stdout
