"""What GET /info says: the model, and what may be asked of it."""

import msgspec

from kubeembed_runtime import __version__
from kubeembed_runtime.api.body import MAX_BODY_BYTES
from kubeembed_runtime.api.limits import MAX_INPUTS, MAX_TOKENS
from kubeembed_runtime.lifecycle import Lifecycle

#: TEI's names for our poolings.
_POOLINGS = {"cls": "cls", "mean": "mean", "lastToken": "last_token"}


class InfoReply(msgspec.Struct):
    """TEI's fields, and after them ours. model_type: {"embedding" | "classifier" | "reranker": ...}."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, dict[str, object]]
    max_concurrent_requests: int | None
    max_input_length: int
    max_batch_tokens: int | None
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int | None
    version: str
    sha: str | None
    docker_label: str | None
    max_tokens_per_request: int
    payload_limit: int
    fingerprint: str
    outputs: tuple[str, ...]
    output_dimensions: dict[str, int]
    prompts: tuple[str, ...]
    adapters: tuple[str, ...]


def info_reply(lifecycle: Lifecycle) -> InfoReply:
    """Raises Loading."""
    info = lifecycle.model.info
    return InfoReply(
        model_id=info.name,
        model_sha=info.revision,
        model_dtype=info.dtype,
        served_model_name=info.name,
        model_type=_type(lifecycle),
        max_concurrent_requests=info.max_concurrent_requests,
        max_input_length=info.max_tokens,
        max_batch_tokens=info.max_batch_tokens,
        max_batch_requests=None,
        max_client_batch_size=MAX_INPUTS,
        auto_truncate=True,
        tokenization_workers=info.tokenizer_threads,
        version=__version__,
        sha=None,
        docker_label=None,
        max_tokens_per_request=MAX_TOKENS,
        payload_limit=MAX_BODY_BYTES,
        fingerprint=info.fingerprint,
        outputs=info.outputs,
        output_dimensions={str(kind): width for kind, width in info.output_dimensions.items()},
        prompts=info.prompts,
        adapters=lifecycle.model.adapters,
    )


def _type(lifecycle: Lifecycle) -> dict[str, dict[str, object]]:
    info = lifecycle.model.info
    if "score" not in info.outputs:
        pooling = (
            "splade"
            if info.outputs[0] == "sparse"
            else _POOLINGS.get(info.pooling or "", info.pooling)
        )
        return {"embedding": {"pooling": pooling}}
    count = info.output_dimensions.get("score", 1)
    names = [*info.labels, *(f"LABEL_{place}" for place in range(len(info.labels), count))]
    labels: dict[str, object] = {
        "id2label": {str(place): name for place, name in enumerate(names)},
        "label2id": {name: place for place, name in enumerate(names)},
    }
    return {"reranker" if count == 1 else "classifier": labels}
