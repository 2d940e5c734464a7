"""What one request may ask for, whatever its contract: OpenAI's own limits."""

from collections.abc import Sized

from kubeembed_runtime.errors import InvalidInput

MAX_INPUTS = 2048
MAX_TOKENS = 300_000


def check_count(name: str, entries: Sized) -> None:
    """name: of the field, as the contract writes it. Raises InvalidInput."""
    if len(entries) > MAX_INPUTS:
        raise InvalidInput("inputs", f"{name} has {len(entries)} entries; at most {MAX_INPUTS}")
