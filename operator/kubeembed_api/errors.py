"""The one error of this room: a document that cannot be what its author meant.

KubeEmbedError
└── InvalidSpec      the user's mistake: names the field and says what to write
"""


class KubeEmbedError(Exception):
    """Whatever KubeEmbed raises on purpose."""


class InvalidSpec(KubeEmbedError):
    """A document is wrong. `field` is its path in the document, `problem` a sentence with the fix."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
