"""`kubeembed-weights`: the Jobs that fill and clear a cache. The last word is a Report, in the termination
message and on stdout.

One start of the process is one attempt; who starts it again, and when, is kubelet's business.
"""

import argparse
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import yaml
from pydantic import ValidationError

from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.files import read_document
from kubeembed_api.names import ADMIN_PORT, CACHE_ROOT, TERMINATION_LOG
from kubeembed_api.reasons import Reason
from kubeembed_api.report import Report
from kubeembed_api.spec import Adapter
from kubeembed_weights.adapter_check import check_adapter
from kubeembed_weights.adapters import fetch_adapter
from kubeembed_weights.admin import serving
from kubeembed_weights.cache import Cache
from kubeembed_weights.collecting import Decision, collect
from kubeembed_weights.copies import KEY, Copy
from kubeembed_weights.disk import writing
from kubeembed_weights.errors import FetchError
from kubeembed_weights.fetching import check, fetch, resolve
from kubeembed_weights.progress import Meter, shown
from kubeembed_weights.rate_limit import RateLimit
from kubeembed_weights.trust import trust_private_cas

logger = logging.getLogger("kubeembed_weights")


def main() -> NoReturn:
    """Ends the process without Python's tidying up: a model, or requests for an adapter, wait for the end."""
    # As process 1 of a container we get no default handler, and kubelet would wait 30 s for us.
    signal.signal(signal.SIGTERM, _leave)
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # its lines hold signed URLs
    trust_private_cas()
    report = _report(options)
    report.write(Path(TERMINATION_LOG))
    print(report.model_dump_json(by_alias=True, exclude_none=True), flush=True)
    os._exit(0 if report.reason in (Reason.FETCHED, Reason.COLLECTED) else 1)


def _report(options: argparse.Namespace) -> Report:
    try:
        if options.command == "adapter":
            return _adapter(options)
        if options.command == "collect":
            return _collect(options)
        model = read_document(options.document)
        return _check(model, options) if options.command == "check" else _fetch(model, options)
    except InvalidSpec as error:
        reason, message, wait = Reason.INVALID_SPEC, str(error), None
    except FetchError as error:
        reason, message, wait = error.reason, error.message, error.retry_after
    logger.error("%s: %s", reason, message)
    return Report(reason=reason, message=message, retry_after_seconds=wait)


def _fetch(model: EmbeddingModel, options: argparse.Namespace) -> Report:
    meter, wanted = Meter(), model.spec.model
    with serving(meter, options.admin_port), _patient(options.root, wanted.source, wanted.revision):
        return _resolved(model) if options.resolve_only else _fetched(model, options, meter)


def _adapter(options: argparse.Namespace) -> Report:
    """An adapter that cannot be served stays in the cache: asked for again, it costs no byte."""
    adapter = _adapter_of(options.adapter)
    with _patient(options.root, adapter.source, adapter.revision):
        copy = fetch_adapter(adapter, options.root, mounted=options.path)
    logger.info("%s holds %s at %s", copy.path, adapter.source, copy.revision)
    check_adapter(copy.path)
    return _good(copy)


def _collect(options: argparse.Namespace) -> Report:
    now = time.time()
    decided = now if options.decided is None else options.decided
    keep, remove = frozenset(options.keep), frozenset(options.remove)
    decision = Decision(keep=keep, ttl=options.ttl, decided=decided, remove=remove)
    with writing(options.root, Meter()):
        found = collect(Cache(options.root), decision, now)
    return Report(reason=Reason.COLLECTED, cache=found)


@contextmanager
def _patient(root: Path, source: str, revision: str | None) -> Iterator[None]:
    """Waits first where the source asked an earlier attempt to; remembers what it asks of this one."""
    limit = RateLimit(root, source, revision)
    if wait := limit.remaining():
        logger.info("waiting %.0f s, as the source asked an earlier attempt to", wait)
        time.sleep(wait)
    try:
        yield
    except FetchError as error:
        if error.retry_after:
            limit.remember(error.retry_after)
        raise
    limit.forget()


def _fetched(model: EmbeddingModel, options: argparse.Namespace, meter: Meter) -> Report:
    with shown(meter):
        copy = fetch(model, options.root, progress=meter)
    logger.info("%s holds %s at %s", copy.path, model.spec.model.source, copy.revision)
    return _good(copy)


def _resolved(model: EmbeddingModel) -> Report:
    wanted = resolve(model)
    logger.info("%s is %s, %d bytes", wanted.source, wanted.revision, wanted.bytes)
    return Report(
        reason=Reason.FETCHED,
        key=wanted.key,
        revision=wanted.revision,
        bytes=wanted.bytes,
        fetched_bytes=0,
    )


def _check(model: EmbeddingModel, options: argparse.Namespace) -> Report:
    copy = check(model, options.path)
    logger.info("%s holds %s: %d bytes", copy.path, model.spec.model.source, copy.bytes)
    return _good(copy)


def _good(copy: Copy) -> Report:
    return Report(
        reason=Reason.FETCHED,
        key=copy.key,
        revision=copy.revision,
        bytes=copy.bytes,
        fetched_bytes=copy.fetched_bytes,
    )


def _adapter_of(told: str) -> Adapter:
    try:
        return Adapter.model_validate(yaml.safe_load(told))
    except (ValidationError, yaml.YAMLError) as error:
        raise InvalidSpec("adapter", f"{told!r} is none: {error}") from error


def _leave(*_: object) -> NoReturn:
    """At once, with nothing to tidy up: a fetch survives being killed at any point, and keeps its parts."""
    logger.info("told to stop; what was fetched so far is kept")
    os._exit(128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubeembed-weights",
        description="Fetches the weights of EmbeddingModels, verified, and removes unused ones.",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="fetch|adapter|check|collect"
    )
    fetching = commands.add_parser("fetch", help="fetch what the document names into the cache")
    fetching.add_argument("document", type=Path, help="the EmbeddingModel, as YAML")
    fetching.add_argument("--root", type=Path, default=Path(CACHE_ROOT), help="the cache")
    fetching.add_argument(
        "--resolve-only", action="store_true", help="only find out the commit, the key and the size"
    )
    fetching.add_argument(
        "--admin-port", type=int, default=ADMIN_PORT, help="for /progress and /livez; 0: none"
    )
    adapter = commands.add_parser(
        "adapter", help="fetch a LoRA adapter and see that it can be served"
    )
    adapter.add_argument(
        "adapter", help="as spec.adapters has it: '{name: legal, source: hf://acme/bge-m3-legal}'"
    )
    adapter.add_argument("--root", type=Path, default=Path(CACHE_ROOT), help="the cache")
    adapter.add_argument("--path", type=Path, help="the folder of a pvc:// source, mounted")
    checking = commands.add_parser("check", help="see that a folder holds a usable model (pvc://)")
    checking.add_argument("document", type=Path, help="the EmbeddingModel, as YAML")
    checking.add_argument("--path", type=Path, required=True, help="the folder")
    _add_collect(commands.add_parser("collect", help="remove copies that no model uses"))
    return parser


def _add_collect(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", type=Path, default=Path(CACHE_ROOT), help="the cache")
    command.add_argument(
        "--keep", type=_key, nargs="*", required=True, metavar="KEY", help="all keys in use"
    )
    command.add_argument(
        "--ttl", type=float, required=True, help="seconds that an unused copy stays; inf: for ever"
    )
    command.add_argument(
        "--remove",
        type=_key,
        nargs="*",
        default=(),
        metavar="KEY",
        help="keys that go now, if unused",
    )
    command.add_argument(
        "--decided", type=float, help="when the keys were in use: seconds since 1970; left out: now"
    )


def _key(told: str) -> str:
    if not KEY.fullmatch(told):
        raise argparse.ArgumentTypeError(f"{told!r} is no key of a copy: 32 hex digits")
    return told


if __name__ == "__main__":
    main()
