"""The errors that all rooms know: a document, or an adapter, that cannot be what its author meant.

KubeEmbedError
├── InvalidSpec      the user's mistake: names the field and says what to write
└── InvalidAdapter   an adapter's files ask for what is not computed here: names the file and the field
"""


class KubeEmbedError(Exception):
    """Whatever KubeEmbed raises on purpose."""


class InvalidSpec(KubeEmbedError):
    """A document is wrong. `field` is its path in the document, `problem` a sentence with the fix."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class InvalidAdapter(KubeEmbedError):
    """A LoRA adapter cannot be served, and why: names the file, and the field or tensor at fault."""
