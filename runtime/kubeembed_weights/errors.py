"""Why weights could not be had. The reason becomes the condition's, the message what the user reads.

KubeEmbedError
└── FetchError      carries the Reason and, where the source said so, when to come back
    └── BrokenOff   one request broke off on the way; worth asking again at once
"""

from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.reasons import Reason


class FetchError(KubeEmbedError):
    """`retry_after` is in seconds, None where the source did not say."""

    def __init__(self, reason: Reason, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class BrokenOff(FetchError):
    """A connection was reset, a body ended early or stalled. Asked again a few times, then it stands."""
