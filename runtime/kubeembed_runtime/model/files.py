"""The small files beside the weights, as far as they exist: what a model's authors left of its recipe."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubeembed_api.reasons import Reason
from kubeembed_runtime.errors import StartFailed

#: The file beside the weights was named after the architecture in the library's first years.
TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

SETTINGS = "config_sentence_transformers.json"
MODULES = "modules.json"
TOKENIZER = "tokenizer_config.json"

#: Whose modules are known by the names of their classes.
_PACKAGES = ("sentence_transformers.", "pylate.")


class Files:
    """config: config.json. modules: kind -> folder, in modules.json's order; None without that file.

    settings: config_sentence_transformers.json. transformer: the file of `transformer_file`.
    """

    def __init__(self, folder: Path) -> None:
        """Raises StartFailed for what is no JSON, and for modules that are code of the model's own."""
        self.folder = folder
        self.config = self.read("config.json")
        self.settings = self.read(SETTINGS)
        self.tokenizer = self.read(TOKENIZER)
        self.transformer_file = next(
            (name for name in TRANSFORMER_FILES if self.has(name)), TRANSFORMER_FILES[0]
        )
        self.transformer = self.read(self.transformer_file)
        listed = self.read_any(MODULES)
        self.modules: list[tuple[str, str]] | None = (
            None if listed is None else [(kind(module), module["path"]) for module in listed]
        )

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def read(self, name: str) -> Mapping[str, Any]:
        """An object; an empty one where there is no such file."""
        return self.read_any(name) or {}

    def read_any(self, name: str) -> Any:
        return read_if_there(self.folder / name)

    def kinds(self) -> list[str]:
        return [name for name, _ in self.modules or ()]

    def folders(self, wanted: str) -> list[str]:
        """The folders of the modules of this kind."""
        return [path for name, path in self.modules or () if name == wanted]

    def module(self, wanted: str) -> tuple[str, Mapping[str, Any]] | None:
        """The first module of this kind: its configuration's name, and what is in it."""
        for path in self.folders(wanted):
            name = f"{path}/config.json" if path else "config.json"
            return name, self.read(name)
        return None


def read_if_there(path: Path) -> Any:
    """What is in it; None where there is no such file. Raises StartFailed for what is no JSON."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        problem = f"{path} is not JSON: {error}"
        raise StartFailed(Reason.NO_USABLE_FILES, problem) from error


def read_json(path: Path) -> dict[str, Any]:
    """An object that has to be there. Raises StartFailed."""
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StartFailed(Reason.NO_USABLE_FILES, f"{path} cannot be read: {error}") from error
    return told


def kind(module: Mapping[str, Any]) -> str:
    """The class name of a module, wherever in its package a release had it. Raises StartFailed.

    A class of the model's own may have the name of a known one and compute something else.
    """
    path = str(module["type"])
    problem = f"{MODULES} has the module {path}, of neither sentence_transformers nor pylate"
    return class_name(path, _PACKAGES, problem, "theirs")


def class_name(path: str, packages: tuple[str, ...], problem: str, theirs: str) -> str:
    """The last part of `path`. Raises StartFailed, with the problem, for a class of other packages."""
    if not path.startswith(packages):
        why = "code that comes with the model is not run for modules"
        way = f"name a module of {theirs} there, if it computes the same"
        raise StartFailed(Reason.UNSUPPORTED_MODEL, f"{problem}; {why}; {way}")
    return path.rpartition(".")[2]
