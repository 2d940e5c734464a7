"""Why a request gets no pod's answer. Each is answered in the words of the contract that it came in.

GatewayError
├── Refused         the caller's mistake, or a path that this address does not have
└── Unavailable     there is no pod now: come again after `retry_after` seconds
"""

from kubeembed_api.errors import KubeEmbedError

#: Seconds until a client may come back that found no connection to be had.
FULL_RETRY_SECONDS = 1


class GatewayError(KubeEmbedError):
    """`status` is HTTP's, `code` the word for programs."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Refused(GatewayError):
    """Asking again does not help. suggestions: names that are near the one that is not there."""

    def __init__(
        self, status: int, code: str, message: str, suggestions: tuple[str, ...] = ()
    ) -> None:
        super().__init__(status, code, message)
        self.suggestions = suggestions


class Unavailable(GatewayError):
    """503. code: model_loading (no pod yet), pod_lost (pods broke off), bodies_full (no room here),
    connections_full (none to be had here, by a client or to a pod)."""

    def __init__(self, code: str, message: str, retry_after: int) -> None:
        super().__init__(503, code, message)
        self.retry_after = retry_after
