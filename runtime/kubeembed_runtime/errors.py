"""What can go wrong, as values that the rooms pass; each contract puts them into its own words.

KubeEmbedError
├── StartFailed          this process cannot serve this document: ends it, with a reason for status
└── RequestFailed        one request cannot be answered, and the others can
    ├── BadBody          the HTTP request itself is refused, whatever its contract: has a status and a code
    │   ├── Unauthorized         401: no API key, or one that is not known
    │   └── FingerprintDiffers   412: the vectors would not be those that the caller has
    ├── InvalidInput     the caller's mistake: names the field and says what is allowed
    ├── UnknownModel     the name is not served here (nor is the adapter): never base vectors
    ├── AdapterRefused   a LoRA adapter that cannot be served, and why: the base and the others can
    │   ├── AdapterMissing   there is nothing where it should lie
    │   └── AdapterUnproven      its golden vectors cannot be read
    │       └── AdapterDiffers   its vectors are not the golden ones
    ├── Loading          not ready yet; come back in `retry_after` seconds
    ├── QueueFull        too much is waiting; come back in `retry_after` seconds
    │   └── BodiesFull           the bodies of requests take all the memory that they may
    ├── DeadlineExceeded the caller's time ran out before the device was done
    ├── OutOfMemory      the device has not the memory for it, however it is batched
    └── DeviceFailed     the device failed under this request, or is gone
        └── NotFinite            a vector or a score came back with a value that is no number
"""

from typing import ClassVar, Literal

from kubeembed_api.errors import KubeEmbedError
from kubeembed_api.reasons import Reason

#: The parts of a request that can be wrong; each contract has its own name for them.
Field = Literal[
    "inputs", "model", "dimensions", "timeout", "outputs", "prompt", "chunking", "truncate"
]


class StartFailed(KubeEmbedError):
    """Serving cannot begin. `reason` is what the operator puts into the condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RequestFailed(KubeEmbedError):
    """Whatever makes one request fail."""


class BadBody(RequestFailed):
    """Refused before any contract has read it. A contract that answers with `status` needs no more words."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Unauthorized(BadBody):
    """API keys are asked for, and the request has none that is known."""

    def __init__(self, problem: str) -> None:
        super().__init__(401, problem, "invalid_api_key")


class FingerprintDiffers(BadBody):
    """The caller's If-Fingerprint-Match names none that this model, or the adapter, has."""

    def __init__(self, wanted: str, served: str) -> None:
        message = f"If-Fingerprint-Match is {wanted!r}; the vectors here have {served!r}"
        super().__init__(412, message, "fingerprint_mismatch")


class InvalidInput(RequestFailed):
    """The request cannot mean anything here. `field` is which part of it."""

    def __init__(self, field: Field, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class UnknownModel(RequestFailed):
    """`asked` is none of `served`."""

    def __init__(self, asked: str, served: tuple[str, ...]) -> None:
        super().__init__(f"model {asked!r} is not served here; have: {', '.join(served)}")
        self.asked = asked
        self.served = served


class AdapterRefused(RequestFailed):
    """An adapter cannot be loaded from where it is: names the file, and the field or module at fault.

    `reason` is what the operator puts into its status.
    """

    reason: ClassVar[Reason] = Reason.ADAPTER_REFUSED


class AdapterMissing(AdapterRefused):
    """Its folder is not there: it has to be fetched once more."""

    reason = Reason.WEIGHTS_MISSING


class AdapterUnproven(AdapterRefused):
    """There are golden vectors of it, and they cannot be read. It is looked at again when it is put again."""

    reason = Reason.GOLDEN_UNREADABLE


class AdapterDiffers(AdapterUnproven):
    """Its vectors are too far from the golden ones: says which text, and how far."""

    reason = Reason.GOLDEN_MISMATCH


class Loading(RequestFailed):
    """The model is being loaded. `retry_after` is in seconds."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"model {name!r} is still loading; retry in {retry_after:.0f} s")
        self.retry_after = retry_after


class QueueFull(RequestFailed):
    """`retry_after` is how many seconds the waiting tokens need at the measured rate."""

    def __init__(self, waiting_tokens: int, capacity_tokens: int, retry_after: float) -> None:
        super().__init__(
            f"{waiting_tokens} tokens are waiting, of {capacity_tokens} that may;"
            f" retry in {retry_after:.0f} s"
        )
        self.retry_after = retry_after


class BodiesFull(QueueFull):
    """Refused while its body was read. It is over as soon as another request is answered."""

    def __init__(self, held: int, most: int) -> None:
        RequestFailed.__init__(
            self,
            f"bodies of {held} bytes are being read or answered, of {most} that may; retry in 1 s",
        )
        self.retry_after = 1.0


class DeadlineExceeded(RequestFailed):
    """Its deadline passed before the device was done with it; what had not run is dropped."""


class OutOfMemory(RequestFailed):
    """A forward pass found no memory: raised by the encoder for a batch, by the batcher for a request."""


class DeviceFailed(RequestFailed):
    """The forward pass raised, or a device thread has ended."""


class NotFinite(DeviceFailed):
    """The forward pass gave NaN or infinity for one item, the `place`th of `count` of the request's."""

    def __init__(self, kind: str, place: int, count: int) -> None:
        super().__init__(
            f"the model gave NaN or infinity ({kind}) for text {place} of {count}, counted from 0;"
            " leave that text out, or serve the model with spec.recipe.dtype: float32"
        )
