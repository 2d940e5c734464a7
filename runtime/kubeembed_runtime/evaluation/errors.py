"""Why there are no figures.

KubeEmbedError
└── EvaluationFailed
    ├── BadFolder        the data set: names the file, the line and the field
    └── EndpointFailed   the endpoint: names its URL, and says what it answered or that it did not
"""

from pathlib import Path

from kubeembed_api.errors import KubeEmbedError


class EvaluationFailed(KubeEmbedError):
    """Whatever ends an evaluation without figures."""


class BadFolder(EvaluationFailed):
    """`line` counts from 1; None is about the file as a whole."""

    def __init__(self, file: Path, line: int | None, problem: str) -> None:
        place = str(file) if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {problem}")


class EndpointFailed(EvaluationFailed):
    """`status` is None where nothing, or nothing whole, came back."""

    def __init__(self, url: str, problem: str, status: int | None = None) -> None:
        answered = "" if status is None else f"answered {status}: "
        super().__init__(f"{url} {answered}{problem}")
        self.status = status
