"""The command as it is typed: what it refuses, how it ends, and what the page shows of it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kubeembed_cli.__main__ import main, parser
from nodekit import ROOT
from runtimekit import document, minilm_folder

PAGE = (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^\$ (?:kubeembed|kubectl embed) (.*)", PAGE, re.M))
def test_a_command_that_the_page_shows_can_be_typed(command: str) -> None:
    parser().parse_args(shlex.split(command))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["fetch", "none.yaml"], "kubeembed: none.yaml: No such file or directory\n"),
        (
            ["fetch", "none.yaml", "--revision", "v1"],
            "kubeembed: --revision is for a URI; write it into the document\n",
        ),
        (
            ["fetch", "ftp://x"],
            "kubeembed: spec.model.source: 'ftp://x' is no source; write one of",
        ),
        (["golden", "x", "--texts", "none.txt"], "kubeembed: --texts none.txt: "),
    ],
    ids=["no file", "revision of a file", "no source", "no texts"],
)
def test_a_mistake_in_the_command_ends_it_with_2(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(problem)


def test_a_folder_is_fetched_where_it_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(yaml.safe_dump(document(minilm_folder())))
    assert main(["fetch", str(file), "-o", "json", "--cache", str(tmp_path)]) == 0
    (copy,) = json.loads(capsys.readouterr().out)
    assert (copy["path"], copy["fetchedBytes"]) == (str(minilm_folder()), 0)


def test_weights_that_are_not_there_end_it_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", f"file://{tmp_path}/none", "--cache", str(tmp_path)]) == 1
    reason, way_out = capsys.readouterr().err.splitlines()
    assert reason.startswith("SourceNotFound: ")
    assert way_out.startswith("way out: correct `spec.model.source`")


def run(tmp_path: Path, kubeconfig: object, *words: str) -> "subprocess.CompletedProcess[str]":
    """`kubeembed why` with a kubeconfig of its own; None: with none."""
    file = tmp_path / "config"
    if kubeconfig is not None:
        file.write_text(yaml.safe_dump(kubeconfig))
    return subprocess.run(
        [sys.executable, "-m", "kubeembed_cli", "why", "minilm", *words],
        env={**os.environ, "KUBECONFIG": str(file)},
        capture_output=True,
        text=True,
    )


#: A cluster on a port where nobody listens.
CONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}],
    "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "me", "user": {}}],
}


@pytest.mark.parametrize(
    ("kubeconfig", "words", "problem"),
    [
        (None, [], "no cluster to ask: there is no "),
        (CONFIG, ["--context", "there"], "no cluster to ask: "),
        (CONFIG, [], "http://127.0.0.1:9 cannot be asked: "),
    ],
    ids=["no kubeconfig", "no such context", "nobody listens"],
)
def test_a_cluster_that_cannot_be_asked_ends_it_with_2(
    tmp_path: Path, kubeconfig: object, words: list[str], problem: str
) -> None:
    ended = run(tmp_path, kubeconfig, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"kubeembed: {problem}")
    assert len(ended.stderr.splitlines()) == 1


def test_as_a_plugin_it_calls_itself_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/local/bin/kubectl-embed"])
    assert parser().prog == "kubectl embed"
