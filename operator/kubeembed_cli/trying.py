"""`kubeembed try NAME TEXT...`: ask a pod of the model, and show how alike its vectors are."""

import argparse
import json
import sys

from kubeembed_cli.cluster import connect
from kubeembed_cli.comparison import Comparison, compare
from kubeembed_cli.errors import CommandFailed
from kubeembed_cli.server import Served, serving
from kubeembed_cli.terminal import styled, table

CAPTIONS = {
    "cosine": "cosine of the vectors",
    "dot": "dot product of the sparse vectors",
    "score": "score of query and text",
}


def try_(options: argparse.Namespace) -> int:
    """The exit status."""
    cluster = connect(options.context, options.namespace)
    server = serving(cluster, options.name, api_key(options))
    about = server.about()
    found = compare(server, about, options.texts, options.query)
    if options.output == "json":
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return 0
    print(told(found))
    if hint := _hint(about, options.query):
        print(f"\n{styled(hint, 'dim')}")
    return 0


def told(found: Comparison) -> str:
    """For a person."""
    fingerprint = f", fingerprint {found.fingerprint}" if found.fingerprint else ""
    head = f"{styled(found.model, 'bold')}: {CAPTIONS[found.measure]}{fingerprint}"
    if not found.queries:
        rows = [f"{place} {text}" for place, text in enumerate(found.texts, 1)]
        return f"{head}\n\n{table(rows, [r.split(' ')[0] for r in rows], found.values)}"
    names = [f"q{place}" for place in range(1, len(found.queries) + 1)]
    asked = "\n".join(f"{n}: {text}" for n, text in zip(names, found.queries, strict=True))
    return f"{head}\n\n{asked}\n\n{table(found.texts, names, found.values)}"


def api_key(options: argparse.Namespace) -> str | None:
    """Of --api-key-file: its first line. Raises CommandFailed."""
    if options.api_key_file is None:
        return None
    try:
        lines = [line.strip() for line in options.api_key_file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--api-key-file {options.api_key_file}: {error}") from error
    return next((line for line in lines if line), None)


def _hint(about: Served, queries: list[str]) -> str:
    """A model that tells queries and documents apart is best tried so."""
    if queries or not about.prompts or not sys.stdout.isatty():
        return ""
    prompts = ", ".join(about.prompts)
    return f"The model has prompts ({prompts}): --query TEXT compares a query with the texts."
