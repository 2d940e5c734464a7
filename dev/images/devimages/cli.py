"""The command line of `python3 dev/images`."""

import argparse
import json
import sys
from collections.abc import Sequence

from devimages import build, inputs, locks, trial
from devimages.console import say
from devimages.errors import ImageError
from devimages.inputs import TARGETS, Options, Target


def main(words: Sequence[str]) -> int:
    """Exit code: 0, or 1 with the reason on stderr."""
    asked = parser().parse_args(words)
    try:
        return int(asked.run(asked))
    except ImageError as error:
        say(f"error: {error}")
        return 1


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="dev/images", description="Build KubeEmbed's images.")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    builder = commands.add_parser("build", help="build what is not built, print names and archives")
    builder.set_defaults(run=run_build)
    named = commands.add_parser("names", help="print the names that `build` would give, at once")
    named.set_defaults(run=run_names)
    for command in (builder, named):
        command.add_argument(
            "targets", nargs="*", metavar="TARGET", help="control, runtime; default: both"
        )
        command.add_argument("--json", action="store_true", help="{TARGET: {name, archive}}")
        add_options(command)
    trier = commands.add_parser(
        "run", help="run a command in a built image as a restricted Pod would"
    )
    trier.set_defaults(run=run_command)
    add_options(trier)
    trier.add_argument("targets", nargs=1, metavar="TARGET")
    trier.add_argument("command", nargs="+", metavar="COMMAND")
    locker = commands.add_parser("locks", help="bring locks/ up to date with pyproject.toml")
    locker.set_defaults(run=run_locks)
    return whole


def add_options(command: argparse.ArgumentParser) -> None:
    """What of the Dockerfile's arguments the user chooses."""
    command.add_argument("--base", help="base image; default: the Dockerfile's, or one made here")
    command.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--torch-index", metavar="URL", help="index with torch's own builds")


def run_build(asked: argparse.Namespace) -> int:
    show(build.build(targets(asked), options(asked)), asked.json)
    return 0


def run_names(asked: argparse.Namespace) -> int:
    show([build.expected(target, options(asked)) for target in targets(asked)], asked.json)
    return 0


def run_command(asked: argparse.Namespace) -> int:
    """The exit code is the command's own."""
    (target,) = targets(asked)
    done = trial.run(inputs.name(target, options(asked)), asked.command)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def run_locks(_: argparse.Namespace) -> int:
    locks.write()
    return 0


def options(asked: argparse.Namespace) -> Options:
    return Options(base=asked.base, accelerator=asked.accelerator, torch_index=asked.torch_index)


def targets(asked: argparse.Namespace) -> tuple[Target, ...]:
    """Raises ImageError naming the targets there are."""
    unknown = [word for word in asked.targets if word not in TARGETS]
    if unknown:
        raise ImageError(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    return tuple(target for target in TARGETS if target in (asked.targets or TARGETS))


def show(built: list[build.Built], as_json: bool) -> None:
    """The answer, on stdout."""
    if as_json:
        listed = {b.target: {"name": b.image, "archive": str(b.archive)} for b in built}
        json.dump(listed, sys.stdout, indent=2)
        print()
        return
    for one in built:
        print(f"{one.image}  {one.archive}")
