"""SHA256SUMS, as `sha256sum` writes it and `sha256sum -c` reads it -> {path: sha256}.

The list is all that its author says of the files: a wanted file that it does not name is refused, since
nobody could tell whether it belongs to them.
"""

import re

from kubeembed_api.reasons import Reason
from kubeembed_weights.errors import FetchError

#: A list is a few lines; whatever is larger is something else under its name.
SUMS_LIMIT = 1 << 20

LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")


def parse_sums(content: bytes, where: str) -> dict[str, str]:
    """Raises FetchError NoUsableFiles, which names the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise FetchError(
                Reason.NO_USABLE_FILES,
                f"{where}: line {number} is not of the form that `sha256sum` prints: {line[:80]!r}",
            )
        found[match[2]] = match[1]
    return found


def checksum_of(sums: dict[str, str], path: str, where: str) -> str:
    """Raises FetchError ChecksumMismatch for a file that is not listed."""
    if path not in sums:
        raise FetchError(
            Reason.CHECKSUM_MISMATCH,
            f"{where} has no line for {path}; write the list anew with `sha256sum`, or delete it",
        )
    return sums[path]
