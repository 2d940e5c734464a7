"""kubeembed-runtime serve FILE: the flags, and what they mean. Light, so that --help is quick."""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from kubeembed_api import files
from kubeembed_api.document import EmbeddingModel
from kubeembed_api.errors import InvalidSpec
from kubeembed_api.golden import Digests
from kubeembed_api.names import ADAPTERS_FILE, ADMIN_PORT, HTTP_PORT, TERMINATION_LOG
from kubeembed_api.placed import PlacedAdapter, read_placed
from kubeembed_api.reasons import Reason
from kubeembed_api.rollout import MIN_COSINE
from kubeembed_runtime.cpus import environment, thread_count
from kubeembed_runtime.errors import StartFailed
from kubeembed_weights import local_cache

if TYPE_CHECKING:
    from kubeembed_runtime.api.edge import Edge
    from kubeembed_runtime.goldenfiles import Golden

logger = logging.getLogger(__name__)

#: How long the port stays open after SIGTERM: every node knows a Service's new endpoints in a second or two.
LINGER_SECONDS = 5.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Of the command."""
    add = parser.add_argument
    add("file", type=Path, help="the EmbeddingModel document, YAML")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=HTTP_PORT, help="public port (%(default)s)")
    add("--admin-port", type=int, default=ADMIN_PORT, help="health and metrics (%(default)s)")
    add_cache(parser)
    add(
        "--linger",
        type=float,
        default=LINGER_SECONDS,
        metavar="SECONDS",
        help="how long to keep serving after SIGTERM (%(default)s)",
    )
    _add_edge(parser)
    _add_golden(parser)
    add("--termination-log", type=Path, default=Path(TERMINATION_LOG), help=argparse.SUPPRESS)


def _add_edge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="API keys, one per line, read again when the file changes (default: none is needed)",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin whose pages may ask from a browser, or *; can be repeated (default: none)",
    )


def _add_golden(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--golden",
        type=Path,
        metavar="FILE",
        help="golden vectors that the model has to give before it is ready (default: none)",
    )
    parser.add_argument(
        "--min-cosine",
        type=float,
        metavar="COSINE",
        help="how near to the golden vectors is near enough (default: as the document says)",
    )
    # The operator's: of the ConfigMap as it read it, of the base's vectors and of all; and the file that is
    # there once all pods of this one's template were ready.
    parser.add_argument("--golden-digests", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rolled-out", type=Path, help=argparse.SUPPRESS)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Of every command that looks for weights on this machine."""
    parser.add_argument(
        "--cache", type=Path, default=local_cache(), help="where weights lie (%(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Serves until a signal. The exit status; raises StartFailed."""
    model = read_document(options.file)
    # A container's first process that handles no SIGTERM never sees it, and would be waited for.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    threads = thread_count()
    for variable, value in environment(threads).items():
        os.environ.setdefault(variable, value)
    served = _served(model, options, threads)
    if not served:
        # The loading thread may be inside torch's import, which Python cannot end in good order.
        logging.shutdown()
        os._exit(0)
    return 0


def _served(model: EmbeddingModel, options: argparse.Namespace, threads: int) -> bool:
    import uvloop

    from kubeembed_runtime.serving import Address, serve  # the web framework: not for --help

    address = Address(host=options.host, port=options.port, admin_port=options.admin_port)
    serving = serve(
        model,
        cache=options.cache,
        address=address,
        threads=threads,
        linger_seconds=options.linger,
        edge=_edge(model, options),
        placed=read_placed_adapters(model, options.file),
        golden=_golden(model, options),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serving)


def _edge(model: EmbeddingModel, options: argparse.Namespace) -> "Edge":
    """Raises StartFailed where the document asks for API keys and nobody gives them: never open by mistake.

    In a pod the document says nothing of this: the operator gives flags.
    """
    from kubeembed_runtime.api.edge import Edge, Keys

    wanted = model.spec.serving
    if wanted.api_keys_secret is not None and options.api_keys is None:
        problem = "spec.serving.apiKeysSecret is in a cluster; give the keys with --api-keys FILE"
        raise StartFailed(Reason.INVALID_SPEC, problem)
    keys = None if options.api_keys is None else Keys(options.api_keys)
    return Edge(keys=keys, origins=tuple(options.cors_origin) or wanted.cors_origins)


def _golden(model: EmbeddingModel, options: argparse.Namespace) -> "Golden | None":
    """Raises StartFailed. In a pod the document says nothing of this: the operator gives flags."""
    wanted = model.spec.rollout.golden
    if options.golden is None:
        if wanted is not None:
            place = f"ConfigMap {wanted.config_map} is in a cluster"
            logger.warning("vectors are not compared: %s; give --golden FILE", place)
        return None
    from kubeembed_runtime import goldenfiles

    least, told = options.min_cosine, options.golden_digests
    if least is None:
        least = wanted.min_cosine if wanted is not None else MIN_COSINE
    return goldenfiles.read(
        options.golden,
        least,
        meant=Digests(base=told[0], every=told[1]) if told else None,
        rolled_out=options.rolled_out,
    )


def read_document(path: Path) -> EmbeddingModel:
    """Raises StartFailed for a file that is missing, no YAML, or no EmbeddingModel."""
    try:
        return files.read_document(path)
    except InvalidSpec as error:
        raise StartFailed(Reason.INVALID_SPEC, str(error)) from error


def read_placed_adapters(model: EmbeddingModel, document: Path) -> tuple[PlacedAdapter, ...]:
    """The list beside a document that the operator resolved, as a pod has it. Raises StartFailed."""
    path = document.with_name(ADAPTERS_FILE)
    if model.resolved.key is None or not path.exists():
        return ()
    try:
        return read_placed(path.read_text())
    except (OSError, InvalidSpec) as error:
        raise StartFailed(Reason.INVALID_SPEC, f"{path}: {error}") from error
