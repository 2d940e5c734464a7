"""What a container of ours says of itself: its last word, and how far it has come.

The last word is JSON in the termination message, which kubelet keeps in the Pod's status, so that the
operator reads it with no network and no permission beyond Pods. At most 4,096 bytes, kubelet's limit.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from kubeembed_api.reasons import Reason
from kubeembed_api.spec import Output

MESSAGE_LIMIT = 2000


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class UnusedCopy(_Value):
    """since: when it was first seen to be in no model's use; goes: when it will be removed. In seconds since
    1970, None where it is not decided. Without a source: a download that has not ended.
    """

    key: str
    bytes: int
    since: int | None = None
    goes: int | None = None
    source: str | None = None
    revision: str | None = None


class CacheReport(_Value):
    """What a collection found and left in a cache: `listed` are as many of the unused copies as have room.
    `next_seconds`: when the next of them can go.
    """

    copies: int
    bytes: int
    unused: int
    unused_bytes: int
    removed: tuple[str, ...] = ()
    next_seconds: float | None = None
    listed: tuple[UnusedCopy, ...] = ()


class Report(_Value):
    """The last word of a fetch (reason Fetched), of a collection (reason Collected), or of a container that
    failed (any other reason)."""

    reason: Reason
    message: str = ""
    key: str | None = None
    revision: str | None = None
    bytes: int | None = None  # size of the whole copy
    fetched_bytes: int | None = None  # of them, by this run
    retry_after_seconds: float | None = None
    cache: CacheReport | None = None

    def write(self, path: Path) -> None:
        """Leaves the report where kubelet looks for it; a laptop has no such file, which is fine."""
        short = self.model_copy(update={"message": self.message[:MESSAGE_LIMIT]})
        if path.exists():
            path.write_text(short.model_dump_json(by_alias=True, exclude_none=True))


def parse_report(text: str | None) -> Report | None:
    """None where the text is not a report: a container that died without a last word."""
    if not text:
        return None
    try:
        return Report.model_validate_json(text)
    except ValidationError:
        return None


class Progress(_Value):
    """Answer of the fetch Job's admin port to GET /progress. `rate` is bytes per second."""

    bytes: int
    total: int
    rate: float = 0.0


class Startup(_Value):
    """Seconds that a runtime took for the stages of its start, one after the other.

    weights: to open them, or fetch them on a laptop. import: of torch and the model's code. load: tensors to
    the device. warm: the first batches, which set up what users would else wait for.
    """

    weights_seconds: float
    import_seconds: float
    load_seconds: float
    warm_seconds: float


class RuntimeInfo(_Value):
    """Answer of the runtime's admin port to GET /info: the resolved recipe, as it is served.

    outputs: the kinds the model gives, the first where nobody asks for another. dimensions: of the first;
    output_dimensions: of each (sparse: the vocabulary, score: the labels). prompts: the names of them.
    max_concurrent_requests: more of them at a time may be refused. max_batch_tokens: of one forward pass.
    """

    name: str
    dimensions: int
    max_tokens: int
    outputs: tuple[Output, ...] = ("dense",)
    output_dimensions: dict[Output, int] = Field(default_factory=dict)
    prompts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()  # of "score", in its order; empty where the files name none
    instructed: bool = False  # has a template for instructions
    pooling: str | None = None  # of dense vectors
    normalize: bool = False
    dtype: str
    device: str
    fingerprint: str
    revision: str | None = None
    max_concurrent_requests: int | None = None
    max_batch_tokens: int | None = None
    tokenizer_threads: int | None = None
    startup: Startup | None = None


class Load(_Value):
    """Answer of the runtime's admin port to GET /load: how busy it is, for the autoscaler.

    busy_seconds, tokens: of the device, summed since its start. queued_tokens: wait for the device.
    in_flight: requests that have no answer yet. idle_seconds: since the last one came or was answered, or
    since it was ready; health checks are none. up_seconds: since its start.
    """

    busy_seconds: float
    queued_tokens: int
    in_flight: int
    tokens: int
    idle_seconds: float
    up_seconds: float


class ServedAdapter(_Value):
    """An adapter as the runtime's admin port lists it. `error` and `reason` say why requests for it are
    refused, if they are. The fingerprint is known of what is in memory."""

    name: str
    path: str
    loaded: bool
    fingerprint: str | None = None
    error: str | None = None
    reason: Reason | None = None


class ServedAdapters(_Value):
    """Answer of the runtime's admin port to GET /adapters."""

    adapters: tuple[ServedAdapter, ...]
