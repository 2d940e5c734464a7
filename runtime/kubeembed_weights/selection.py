"""A listing -> the files that are fetched: only what is loaded, and only names that are safe to write.

Names come from the source and are untrusted: what is absolute, hidden or climbs out of the folder is never
selected. A repository without config.json or safetensors is refused here, before a byte is fetched.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from kubeembed_api.keys import MODEL_FILES
from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError

#: Other frameworks' weights, named in the message so that the user sees what was found instead.
FOREIGN = (".bin", ".onnx", ".h5", ".pt", ".pth", ".msgpack", ".ot", ".gguf", ".safetensors")


def select(paths: Iterable[str], source: str, patterns: tuple[str, ...] = MODEL_FILES) -> list[str]:
    """The wanted paths, sorted. A pattern matches part by part: `*.json` is the top level alone.

    Raises FetchError NoUsableFiles, which says what there is.
    """
    present = list(paths)
    wanted = sorted(p for p in present if _safe(p) and any(_matches(p, q) for q in patterns))
    if "config.json" not in wanted:
        raise FetchError(
            Reason.NO_USABLE_FILES,
            f"{source} has no config.json at its top level, so it is no model in transformers' layout; "
            f"it has {_some(present)}",
        )
    if not any(path.endswith(".safetensors") and "/" not in path for path in wanted):
        foreign = [path for path in present if path.endswith(FOREIGN)]
        raise FetchError(
            Reason.NO_USABLE_FILES,
            f"{source} has no *.safetensors at its top level; it has {_some(foreign or present)}. Only "
            "safetensors are loaded: convert the weights, or write a spec.model.revision that has them",
        )
    return wanted


def _matches(path: str, pattern: str) -> bool:
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
