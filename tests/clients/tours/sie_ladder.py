"""What sie-sdk makes of each failure: URL of a server that fails as an item says; its key is "key"."""

import sys
from typing import Any

from sie_sdk import SIEClient
from sie_sdk.client.errors import (
    InputTooLongError,
    ModelLoadFailedError,
    RequestError,
    ResourceExhaustedError,
    ServerError,
    SIEError,
)

#: text -> the SDK's retries until it has vectors: the server fails so often.
PASSING = {"full 1": 1, "memory 1": 1, "late 1": 1}

#: text -> the SDK's error at once, its code and its status.
ENDING: dict[str, tuple[type[SIEError], str, int | None]] = {
    "long 9": (InputTooLongError, "INPUT_TOO_LONG", 400),
    "refused 9": (ModelLoadFailedError, "MODEL_LOAD_FAILED", 502),
    "device 9": (ServerError, "INFERENCE_ERROR", 500),
    "unforeseen 9": (ServerError, "INTERNAL_ERROR", 500),
}


def caught(call: Any, *arguments: Any, **named: Any) -> Any:
    try:
        call(*arguments, **named)
    except SIEError as error:
        return error
    raise AssertionError(f"no error for {arguments}")


def main(url: str) -> None:
    with SIEClient(url, api_key="key") as client:
        for text, retries in PASSING.items():
            assert client.encode("bge", {"text": text})["dense"].shape == (3,), text
            assert client.last_retry_count == retries, (text, client.last_retry_count)
        error = caught(client.encode, "bge", {"text": "memory 9"}, max_oom_retries=1)
        assert type(error) is ResourceExhaustedError, repr(error)
        for text, (kind, code, status) in ENDING.items():
            error = caught(client.encode, "bge", {"text": text})
            assert type(error) is kind, repr(error)
            assert (error.code, error.status_code) == (code, status), (
                error.code,
                error.status_code,
            )
            assert client.last_retry_count == 0, text
    with SIEClient(url, api_key="other") as client:
        error = caught(client.encode, "bge", {"text": "full 0"})
        assert (type(error), error.code, error.status_code) == (RequestError, "UNAUTHORIZED", 401)


main(sys.argv[1])
