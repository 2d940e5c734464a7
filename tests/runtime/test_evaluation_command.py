"""`kubeembed-runtime evaluate`, as users run it: the example's corpus, real servers, the real MiniLM."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from sentence_transformers import SentenceTransformer

from kubeembed_runtime.__main__ import main
from kubeembed_runtime.evaluation.dataset import read_dataset
from runtimekit import Process, document, free_ports, late_interaction, launch, minilm_folder

CORPUS = Path(__file__).parents[2] / "examples" / "corpus"
KEY = "sesame"

Figures = dict[str, dict[str, float]]
Evaluate = Callable[..., list[str]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"{KEY}\n")
    return file


@pytest.fixture(scope="module")
def embedder(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """MiniLM in float32, for those who know the key."""
    served = document(minilm_folder(), dtype="float32")
    process = launch(tmp_path_factory.mktemp("embedder"), served, "--api-keys", str(keys))
    yield process.until_ready()
    process.end()


@pytest.fixture(scope="module")
def reranker(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Gives a vector per token and no dense one; the same key."""
    folder = tmp_path_factory.mktemp("reranker")
    served = document(late_interaction(folder / "late"), "late")
    process = launch(folder, served, "--api-keys", str(keys))
    yield process.until_ready()
    process.end()


@pytest.fixture
def asking(embedder: Process, keys: Path) -> list[str]:
    """Arguments that are right."""
    endpoint = ["--endpoint", embedder.url, "--model", "minilm"]
    return ["evaluate", str(CORPUS), *endpoint, "--api-key-file", str(keys)]


def figures(told: dict[str, Any], stage: str = "alone") -> Figures:
    return {row["vectors"]: row[stage] for row in told["figures"]}


def test_the_table_and_the_json_tell_the_same(
    asking: list[str], embedder: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asking) == 0
    table = capsys.readouterr().out
    assert main([*asking, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fingerprint = json.loads(embedder.admin("/info")[1])["fingerprint"]
    about = {"documents": 128, "queries": 72, "model": "minilm", "fingerprint": fingerprint}
    about |= {"dimensions": 384}
    assert {name: told[name] for name in about} == about
    lines = [f"{name}: {value}" for name, value in about.items()]
    lines += ["", f"{'':16}     NDCG@10      MRR@10  Recall@100"]
    for kind, row in figures(told).items():
        lines.append(f"{kind:16}" + "".join(f"{figure:12.4f}" for figure in row.values()))
    assert table.splitlines() == lines


def test_the_documentation_shows_what_is_printed(
    asking: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the last digits: where a bit is on the edge, another processor may see it on the other side."""
    assert main(asking) == 0
    printed = capsys.readouterr().out.splitlines()
    page = (CORPUS.parents[1] / "docs" / "evaluate.md").read_text()
    shown = page.split("--model minilm\n")[1].split("```")[0].splitlines()
    assert [line[:16] for line in shown] == [line[:16] for line in printed]
    assert [line for line in shown[:5] if "fingerprint" not in line] == [
        line for line in printed[:5] if "fingerprint" not in line
    ]
    for one, other in zip(shown[7:], printed[7:], strict=True):
        wanted = [float(figure) for figure in one[16:].split()]
        assert wanted == pytest.approx([float(figure) for figure in other[16:].split()], abs=0.01)


def test_figures_are_those_of_sentence_transformers_and_trec_eval(
    asking: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asking, "-o", "json"]) == 0
    found = figures(json.loads(capsys.readouterr().out))["float"]
    data = read_dataset(CORPUS)
    model = SentenceTransformer(str(minilm_folder()), device="cpu")
    sides = (list(data.queries.values()), list(data.documents.values()))
    queries, documents = (model.encode(side, normalize_embeddings=True) for side in sides)
    scores = queries @ documents.T
    run = {
        query: dict(zip(data.documents, map(float, row), strict=True))
        for query, row in zip(data.queries, scores, strict=True)
    }
    qrels = {query: dict(judged) for query, judged in data.qrels.items()}
    names = {"ndcg_cut.10", "recip_rank", "recall.100"}
    rows = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run).values()
    ranks = [row["recip_rank"] if row["recip_rank"] >= 0.1 else 0.0 for row in rows]
    assert found == {
        "NDCG@10": pytest.approx(np.mean([row["ndcg_cut_10"] for row in rows]), abs=1e-9),
        "MRR@10": pytest.approx(np.mean(ranks), abs=1e-9),
        "Recall@100": pytest.approx(np.mean([row["recall_100"] for row in rows]), abs=1e-9),
    }


def test_the_example_is_hard_enough_to_tell_kinds_of_vectors_apart(
    asking: list[str], reranker: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ["--reranker", "late", "--reranker-endpoint", reranker.url, "--rerank-top", "20"]
    assert main([*asking, *again, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    alone = {kind: row["NDCG@10"] for kind, row in figures(told).items()}
    reranked = {kind: row["NDCG@10"] for kind, row in figures(told, "reranked").items()}
    assert 0.7 < alone["float"] < 0.8
    assert abs(alone["int8"] - alone["float"]) < 0.01
    assert alone["binary"] < alone["float"] - 0.05
    assert alone["binary"] + 0.05 < alone["binary, rescored"] <= alone["float"] + 0.01
    assert alone["binary"] + 0.05 < reranked["binary"]
    assert (told["reranker"], told["rerankTop"]) == ("late", 20)


def test_openais_contract_gives_the_same_where_a_model_has_no_prompts(
    asking: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asking, "-o", "json"]) == 0
    cohere = json.loads(capsys.readouterr().out)
    assert main([*asking, "-o", "json", "--contract", "openai"]) == 0
    assert json.loads(capsys.readouterr().out) == cohere


def test_what_the_servers_refuse_is_told_in_their_words(
    asking: list[str],
    embedder: Process,
    reranker: Process,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, late = embedder.url, reranker.url
    served = "is not served here; have: minilm"
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    rows: list[tuple[list[str], str]] = [
        (
            ["--model", "minilm:legal"],
            f"{url}/v2/embed answered 404: model 'minilm:legal' {served}",
        ),
        (["--model", "m", "--contract", "openai"], f"{url}/v1/embeddings answered 404: model 'm'"),
        (["--endpoint", late, "--model", "late"], f"{late}/v2/embed answered 400: "),
        (["--reranker", "minilm"], f"{url}/rerank answered 400: minilm scores no pairs; it gives"),
        (["--endpoint", nowhere], f"{nowhere}/v2/embed cannot be reached: "),
        (["--api-key-file", "/dev/null"], "--api-key-file /dev/null is empty"),
        (["--api-key-file", str(keys / "none")], f"--api-key-file {keys}/none: "),
        (["--reranker-endpoint", late], "--reranker-endpoint needs --reranker MODEL beside it"),
        (["--split", "dev"], f"{CORPUS}/qrels/dev.tsv: No such file or directory"),
    ]
    for more, said in rows:
        assert main([*asking, *more]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"kubeembed-runtime: {said}" in captured.err, captured.err
    assert main([word for word in asking if word not in ("--api-key-file", str(keys))]) == 1
    assert f"{url}/v2/embed answered 401: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--endpoint", "http://a:1/v1"], "has the contract's path; leave it off"),
        (["--endpoint", "a:1"], "'a:1' is no URL; write http://host:port"),
        (["--batch", "0"], "'0' is no whole number of 1 or more"),
        (["--contract", "tei"], "invalid choice: 'tei'"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(CORPUS), "--endpoint", "http://a", "--model", "m", *flags])
    assert said in capsys.readouterr().err


def test_a_terminal_gets_a_bar_and_the_command_needs_no_torch(asking: list[str]) -> None:
    code = (
        "import sys; from kubeembed_runtime.__main__ import main; assert main(sys.argv[1:]) == 0;"
        "assert not {'torch', 'tokenizers', 'fastapi', 'starlette'} & set(sys.modules)"
    )
    terminal, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-c", code, *asking]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=120)
    os.close(theirs)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "documents: 100%|" in shown
    assert "queries: 100%|" in shown
    assert b"NDCG@10" in done.stdout
