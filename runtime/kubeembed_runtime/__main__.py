"""kubeembed-runtime serve FILE: serves the model of a document, in a pod and on a laptop alike.
kubeembed-runtime recipe ID: prints how a model turns texts into vectors, and who says so.
kubeembed-runtime evaluate FOLDER: measures how well an endpoint's vectors retrieve.

The document is the only configuration; the flags say where this process listens and where weights lie.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from kubeembed_api.report import Report
from kubeembed_runtime import command
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.evaluation import command as evaluation
from kubeembed_runtime.evaluation.errors import EvaluationFailed


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 after a drain, 1 if serving could not begin, or there is nothing to print."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("uvicorn", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return _COMMANDS[options.command](options)
    except EvaluationFailed as error:
        print(f"kubeembed-runtime: {error}", file=sys.stderr)
        return 1
    except StartFailed as error:
        if options.command == "serve":
            Report(reason=error.reason, message=error.message).write(options.termination_log)
        print(f"kubeembed-runtime: {error.reason}: {error.message}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubeembed-runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recipe = commands.add_parser("recipe", help="print a model's recipe, and who told what")
    recipe.add_argument("what", help="ORG/NAME on the Hugging Face hub, a folder, or a document")
    recipe.add_argument("--folder", type=Path, help="where the model's files are, if it is an id")
    command.add_cache(recipe)
    evaluate = commands.add_parser("evaluate", help="measure an endpoint on a retrieval data set")
    evaluation.add_flags(evaluate)
    serve = commands.add_parser("serve", help="serve the model of a document")
    command.add_flags(serve)
    return parser


def _recipe(options: argparse.Namespace) -> int:
    from kubeembed_runtime.recipe import told

    file = Path(options.what)
    document = command.read_document(file) if file.is_file() else None
    print(told(options.what, options.folder, options.cache, document), end="")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    evaluation.run(options)
    return 0


_COMMANDS = {"recipe": _recipe, "evaluate": _evaluate, "serve": command.run}


if __name__ == "__main__":
    sys.exit(main())
