"""kubeembed why NAME: the one reason why a model does not serve as asked, and the way out.
kubeembed try NAME TEXT...: how alike texts are to the model.
kubeembed fetch FILE|URI: weights into this machine's cache.
kubeembed golden NAME --texts FILE: the vectors that a roll-out is held to.
kubeembed cache ls, kubeembed cache rm KEY: the copies of weights in the cluster's caches.

Also `kubectl embed why NAME`, and so on. Exit status: 0 good; 1 the model or a source says no;
2 usage, or the cluster cannot be asked.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kubeembed_api.errors import KubeEmbedError
from kubeembed_cli.errors import CommandFailed


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parser().parse_args(argv)
    try:
        return run(options)
    except CommandFailed as error:
        print(f"kubeembed: {error}", file=sys.stderr)
        return error.status
    except KubeEmbedError as error:  # a document, or golden vectors, that cannot be
        print(f"kubeembed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run(options: argparse.Namespace) -> int:
    """Imports what one command needs: a cluster's client takes a second, and a fetch needs none."""
    match options.command:
        case "why":
            from kubeembed_cli.why import why

            return why(options)
        case "try":
            from kubeembed_cli.trying import try_

            return try_(options)
        case "fetch":
            from kubeembed_cli.fetching import fetch_

            return fetch_(options)
        case "cache":
            from kubeembed_cli.caching import cache

            return cache(options)
        case _:
            from kubeembed_cli.goldens import golden

            return golden(options)


def parser() -> argparse.ArgumentParser:
    """As `kubectl embed` it calls itself so."""
    plugin = os.path.basename(sys.argv[0]).startswith("kubectl-")
    whole = argparse.ArgumentParser(
        prog="kubectl embed" if plugin else "kubeembed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(
        dest="command", required=True, metavar="why|try|fetch|golden|cache"
    )
    _add_why(
        commands.add_parser("why", help="why a model does not serve as asked, or that it does")
    )
    _add_try(commands.add_parser("try", help="how alike texts are to a model that serves"))
    _add_fetch(commands.add_parser("fetch", help="fetch weights into this machine's cache"))
    _add_golden(commands.add_parser("golden", help="write the vectors that a roll-out is held to"))
    _add_cache(commands.add_parser("cache", help="list copies of weights, or remove an unused one"))
    return whole


def _add_why(why: argparse.ArgumentParser) -> None:
    why.add_argument("name", metavar="NAME", help="of the EmbeddingModel")
    _add_cluster(why)
    _add_output(why)


def _add_try(trying: argparse.ArgumentParser) -> None:
    trying.add_argument("name", metavar="NAME", help="of the EmbeddingModel, or NAME:ADAPTER")
    trying.add_argument("texts", metavar="TEXT", nargs="+")
    trying.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="TEXT",
        help="compare this, as a query, with the texts, as documents; several times for several",
    )
    _add_cluster(trying)
    _add_key(trying)
    _add_output(trying)


def _add_fetch(fetching: argparse.ArgumentParser) -> None:
    fetching.add_argument(
        "what", metavar="FILE|URI", help="a document, or hf://ORG/NAME and the like"
    )
    fetching.add_argument("--revision", help="branch, tag or commit of a URI")
    fetching.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="(that of kubeembed-runtime)"
    )
    _add_output(fetching)


def _add_golden(golden: argparse.ArgumentParser) -> None:
    golden.add_argument("name", metavar="NAME", help="of the EmbeddingModel")
    golden.add_argument(
        "--texts", type=Path, required=True, metavar="FILE",
        help='a text per line; or .jsonl, with {"text": ..., "side": "query"|"document"}',
    )  # fmt: skip
    golden.add_argument(
        "--side", choices=["query", "document"], help="of texts that name none; without it, neither"
    )
    golden.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="ADAPTER",
        help="also the vectors of this adapter; several times for several",
    )
    golden.add_argument("--config-map", metavar="NAME", help="(NAME-golden)")
    golden.add_argument("--apply", action="store_true", help="write it into the cluster")
    golden.add_argument("-o", "--output", choices=["yaml"], default="yaml", help="(%(default)s)")
    _add_cluster(golden)
    _add_key(golden)


def _add_cache(cache: argparse.ArgumentParser) -> None:
    actions = cache.add_subparsers(dest="action", required=True, metavar="ls|rm")
    listing = actions.add_parser("ls", help="each copy, who uses it, or when it goes")
    listing.add_argument("-A", "--all-namespaces", action="store_true")
    _add_cluster(listing)
    _add_output(listing)
    removing = actions.add_parser("rm", help="have the operator remove a copy that no model uses")
    removing.add_argument("key", metavar="KEY", help="of the copy, or its beginning")
    removing.add_argument(
        "--wait", type=float, default=180, metavar="SECONDS", help="until it is gone (%(default)s)"
    )
    _add_cluster(removing)
    _add_output(removing)


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("-n", "--namespace", help="(that of the context)")
    command.add_argument("--context", help="of the kubeconfig (its current one)")


def _add_key(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="where the model asks for API keys"
    )


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="(%(default)s)"
    )


if __name__ == "__main__":
    sys.exit(main())
