"""modules.json of sentence-transformers: which modules a text goes through, and where the Dense ones lead."""

from collections.abc import Mapping
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed
from kubeembed_runtime.model.files import MODULES, Files
from kubeembed_runtime.model.recipes import Told

#: Fields of Recipe -> what is told of them.
Facts = Mapping[str, Told[Any]]

#: Those without effect when serving, anywhere among the others.
_NO_EFFECT = ("Dropout",)


def unsupported(problem: str) -> StartFailed:
    return StartFailed(Reason.UNSUPPORTED_MODEL, problem)


def refuse_other_modules(files: Files, known: tuple[str, ...]) -> None:
    """Each must be known, and the order the usual one: another is another computation."""
    kinds = [kind for kind in files.kinds() if kind not in _NO_EFFECT]
    for kind in kinds:
        if kind not in known:
            problem = f"{MODULES} has a {kind} module"
            raise unsupported(f"{problem}; supported here: {', '.join(known)}")
    ordered = [kind for kind in kinds if kind != "MultiVectorMask"]  # it changes no vector
    if ordered != sorted(ordered, key=known.index):
        raise unsupported(f"{MODULES} has {', '.join(kinds)}; supported: {', '.join(known)}")


def projections(files: Files) -> Facts:
    folders = tuple(files.folders("Dense"))
    if not folders:
        return {}
    last = f"{folders[-1]}/config.json"
    width = files.read(last).get("out_features")
    if width is None:
        raise unsupported(f"{last} tells no out_features")
    return {
        "projections": Told(value=folders, origin=MODULES),
        "dimensions": Told(value=int(width), origin=last),
    }
