"""`kubeembed fetch WHAT`: the weights of a document, or of a source, into this machine's cache."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kubeembed_api.document import EmbeddingModel, parse
from kubeembed_api.files import read_document
from kubeembed_api.names import API_VERSION, KIND
from kubeembed_api.remedies import way_out
from kubeembed_api.spec import Adapter
from kubeembed_cli.errors import CommandFailed
from kubeembed_weights import Copy, FetchError, Meter, fetch, fetch_adapter, local_cache, shown
from kubeembed_weights.adapter_check import check_adapter
from kubeembed_weights.progress import size


def fetch_(options: argparse.Namespace) -> int:
    """The exit status: 0 all of it is here, 1 it is not."""
    # a bar on a terminal, lines elsewhere; httpx's own would hold signed URLs
    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    logging.basicConfig(level=level, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    model, root = wanted(options.what, options.revision), options.cache or local_cache()
    try:
        copies = list(_copies(model, root))
    except FetchError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        print(f"way out: {way_out(error.reason, model.name)}", file=sys.stderr)
        return 1
    if options.output == "json":
        print(json.dumps([_as_json(source, copy) for source, copy in copies], indent=2))
    for source, copy in copies if options.output != "json" else ():
        came = size(copy.fetched_bytes)
        at = f" at {copy.revision}" if copy.revision else ""
        print(f"{source}{at}: {size(copy.bytes)}, of which {came} came just now\n  {copy.path}")
    return 0


def wanted(what: str, revision: str | None) -> EmbeddingModel:
    """A file of a document, or a URI. Raises InvalidSpec, CommandFailed."""
    if "://" in what:
        source = {"source": what} | ({"revision": revision} if revision else {})
        head = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "local"}}
        return parse({**head, "spec": {"model": source}})
    if revision is not None:
        raise CommandFailed("--revision is for a URI; write it into the document")
    return read_document(Path(what))


def _copies(model: EmbeddingModel, root: Path) -> Iterator[tuple[str, Copy]]:
    """Each source with its copy: the model's, then its adapters'."""
    yield model.spec.model.source, _shown(lambda meter: fetch(model, root, progress=meter))
    for adapter in model.spec.adapters:
        copy = _shown(partial(_adapter, adapter, root))
        check_adapter(copy.path)
        yield adapter.source, copy


def _adapter(adapter: Adapter, root: Path, meter: Meter) -> Copy:
    return fetch_adapter(adapter, root, progress=meter)


def _shown(fetched: Callable[[Meter], Copy]) -> Copy:
    meter = Meter()
    with shown(meter):
        return fetched(meter)


def _as_json(source: str, copy: Copy) -> dict[str, object]:
    return {
        "source": source,
        "revision": copy.revision,
        "path": str(copy.path),
        "bytes": copy.bytes,
        "fetchedBytes": copy.fetched_bytes,
    }
