"""What can go wrong, each said with the way out.

ImageError              shown to the user as it is
+-- CommandFailed       a program ended with an error; carries the end of what it wrote
"""

from collections.abc import Iterable, Sequence

TAIL_LINES = 30


class ImageError(Exception):
    """The message is for the user."""


class CommandFailed(ImageError):
    """A program that was run to its end answered with an error."""

    def __init__(self, argv: Sequence[str], code: int, output: Iterable[str]) -> None:
        lines = "\n".join([*output][-TAIL_LINES:])
        super().__init__(f"`{' '.join(argv)}` ended with {code}:\n{lines}")
