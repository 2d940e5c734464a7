"""A listing -> the files that are fetched: only what is loaded, and only names that are safe to write.

Names come from the source and are untrusted: what is absolute, hidden or climbs out of the folder is never
selected. A repository without config.json or weights is refused here, before a byte is fetched.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from posixpath import dirname

from kubeembed_api.keys import ADAPTER_FILES, MODEL_FILES, PICKLED_FILES
from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError

#: (what there is, the source for messages) -> what of it is fetched. Raises FetchError NoUsableFiles.
Choose = Callable[[Iterable[str], str], list[str]]

#: Other frameworks' weights, named in the message so that the user sees what was found instead.
FOREIGN = (".bin", ".onnx", ".h5", ".pt", ".pth", ".msgpack", ".ot", ".gguf", ".safetensors")


def select(paths: Iterable[str], source: str) -> list[str]:
    """The wanted paths, sorted: MODEL_FILES, and PICKLED_FILES of folders without safetensors.

    Raises FetchError NoUsableFiles, which says what there is.
    """
    present = list(paths)
    wanted = _wanted(present)
    if "config.json" not in wanted:
        raise FetchError(
            Reason.NO_USABLE_FILES,
            f"{source} has no config.json at its top level, so it is no model in transformers' layout; "
            f"it has {_some(present)}",
        )
    if not any(path.endswith((".safetensors", ".bin")) and "/" not in path for path in wanted):
        foreign = [path for path in present if path.endswith(FOREIGN)]
        raise FetchError(
            Reason.NO_USABLE_FILES,
            f"{source} has neither *.safetensors nor pytorch_model.bin at its top level; it has "
            f"{_some(foreign or present)}. Convert the weights, or write a spec.model.revision that has them",
        )
    return wanted


def select_adapter(paths: Iterable[str], source: str) -> list[str]:
    """ADAPTER_FILES. Raises FetchError NoUsableFiles, which says what there is."""
    present = list(paths)
    for wanted in ADAPTER_FILES:
        if wanted not in present:
            raise FetchError(
                Reason.NO_USABLE_FILES,
                f"{source} has no {wanted} at its top level, so it is no adapter as PEFT saves it; "
                f"it has {_some(present)}",
            )
    return sorted(ADAPTER_FILES)


def _wanted(present: Iterable[str]) -> list[str]:
    safe = [path for path in present if _safe(path)]
    wanted = [path for path in safe if any(_matches(path, glob) for glob in MODEL_FILES)]
    better = {dirname(path) for path in wanted if path.endswith(".safetensors")}
    pickled = [path for path in safe if any(_matches(path, glob) for glob in PICKLED_FILES)]
    return sorted([*wanted, *(path for path in pickled if dirname(path) not in better)])


def _matches(path: str, pattern: str) -> bool:
    """Part by part: `*.json` is the top level alone."""
    names, wanted = path.split("/"), pattern.split("/")
    pairs = zip(names, wanted, strict=False)
    return len(names) == len(wanted) and all(fnmatchcase(name, glob) for name, glob in pairs)


def _safe(path: str) -> bool:
    """No part is empty (absolute), hidden ('..', our manifest) or unprintable."""
    return path.isprintable() and all(part and part[0] != "." for part in path.split("/"))


def _some(paths: list[str], limit: int = 8) -> str:
    if not paths:
        return "no files at all"
    more = len(paths) - limit
    return ", ".join(sorted(paths)[:limit]) + (f" and {more} more" if more > 0 else "")
