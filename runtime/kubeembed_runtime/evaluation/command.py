"""kubeembed-runtime evaluate FOLDER: the flags, and what is printed. Light, so that --help is quick."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kubeembed_runtime.evaluation.errors import EvaluationFailed

if TYPE_CHECKING:
    from kubeembed_runtime.evaluation.endpoint import Endpoint


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    add = parser.add_argument
    add(
        "folder",
        type=Path,
        help="corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as BEIR has them",
    )
    add("--endpoint", type=base_url, required=True, metavar="URL", help="base URL, without /v1")
    add("--model", required=True, help="as the endpoint calls it, with :adapter for one")
    add(
        "--contract",
        choices=("cohere", "openai"),
        default="cohere",
        help="cohere: POST /v2/embed, which tells queries from documents; openai: POST"
        " /v1/embeddings, which does not (%(default)s)",
    )
    add("--api-key-file", type=Path, metavar="FILE", help="its first line is sent as the API key")
    add("--reranker", metavar="MODEL", help="rerank as well, with this model")
    add(
        "--reranker-endpoint",
        type=base_url,
        metavar="URL",
        help="where the reranker is (default: --endpoint)",
    )
    add(
        "--rerank-top",
        type=positive,
        default=100,
        metavar="N",
        help="so many documents of each query are reranked (%(default)s)",
    )
    add("--split", default="test", help="which judgements: qrels/SPLIT.tsv (%(default)s)")
    add("--batch", type=positive, default=64, metavar="N", help="texts per request (%(default)s)")
    add(
        "--similarity",
        choices=("cosine", "dot"),
        default="cosine",
        help="dot leaves the vectors as they come (%(default)s)",
    )
    add(
        "--skip-identical-ids",
        action="store_true",
        help="a document with the query's own id is left out: ArguAna, Quora",
    )
    add("-o", "--output", choices=("text", "json"), default="text", help="(%(default)s)")


def base_url(text: str) -> str:
    """Raises ArgumentTypeError, which argparse prints with the flag's name."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL; write http://host:port")
    if parts.path.rstrip("/").endswith(("/v1", "/v2")):
        raise argparse.ArgumentTypeError(f"{text!r} has the contract's path; leave it off")
    return text


def positive(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def run(options: argparse.Namespace) -> None:
    """Prints the figures on standard output. Raises EvaluationFailed."""
    from kubeembed_runtime.evaluation.dataset import read_dataset
    from kubeembed_runtime.evaluation.evaluate import Options, evaluate
    from kubeembed_runtime.evaluation.report import as_json, as_text

    if options.reranker_endpoint and not options.reranker:
        raise EvaluationFailed("--reranker-endpoint needs --reranker MODEL beside it")
    dataset = read_dataset(options.folder, options.split)
    chosen = Options(
        batch=options.batch,
        normalize=options.similarity == "cosine",
        identical=not options.skip_identical_ids,
        depth=options.rerank_top,
    )
    with _endpoints(options) as (embedder, reranker):
        evaluation = evaluate(dataset, embedder, reranker, chosen)
    about = {
        "documents": len(dataset.documents),
        "queries": len(dataset.queries),
        "model": options.model,
        "fingerprint": embedder.fingerprint,
        "reranker": options.reranker,
        "rerankTop": options.rerank_top if options.reranker else None,
    }
    write = as_json if options.output == "json" else as_text
    sys.stdout.write(write(evaluation, about))


@contextmanager
def _endpoints(options: argparse.Namespace) -> "Iterator[tuple[Endpoint, Endpoint | None]]":
    from kubeembed_runtime.evaluation.endpoint import Endpoint

    key = _key(options.api_key_file) if options.api_key_file else None
    model, contract = options.model, options.contract
    with Endpoint(options.endpoint, model=model, contract=contract, key=key) as embedder:
        if not options.reranker:
            yield embedder, None
            return
        url = options.reranker_endpoint or options.endpoint
        with Endpoint(url, model=options.reranker, key=key) as reranker:
            yield embedder, reranker


def _key(file: Path) -> str:
    """Raises EvaluationFailed."""
    try:
        lines = file.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationFailed(f"--api-key-file {file}: {error}") from error
    if not lines:
        raise EvaluationFailed(f"--api-key-file {file} is empty; its first line is the key")
    return lines[0]
