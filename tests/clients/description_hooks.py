"""What schemathesis does not know of itself: msgpack, and what a request needs to be answered.

Left alone, hardly a request gets past a random model or fingerprint, and no reply's body is ever looked at.
"""

import os
from itertools import count
from typing import Any

import msgpack
import msgpack_numpy
import schemathesis

MEDIA = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")

calls = count()


@schemathesis.serializer(*MEDIA)
def pack(context: Any, value: Any) -> bytes:
    """Of what msgpack has no room for, bytes that are none: JSON's business."""
    try:
        return msgpack.packb(value)
    except (OverflowError, ValueError, TypeError):
        return b"\xc1"


@schemathesis.deserializer(*MEDIA)
def unpack(context: Any, response: Any) -> Any:
    """Arrays become lists, as they are in JSON. The test reads the statuses of what was unpacked."""
    with open(os.environ["UNPACKED"], "a") as file:
        file.write(f"{response.status_code}\n")
    return lists(msgpack.unpackb(response.content, object_hook=msgpack_numpy.decode))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Three of four ask for the model that is served, of any fingerprint; none wants less than a second."""
    if too_short(case.headers.get("X-Request-Timeout", "")):
        del case.headers[
            "X-Request-Timeout"
        ]  # the 504 is right, and here it is the sign of a failure
    if next(calls) % 4 == 0:
        return
    name = os.environ["SERVED"]
    case.headers.pop("If-Fingerprint-Match", None)
    if case.path_parameters and not case.path.startswith("/v1/pools"):
        case.path_parameters = dict.fromkeys(case.path_parameters, name)
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = name


def too_short(seconds: str) -> bool:
    try:
        return 0 < float(seconds) < 1
    except ValueError:
        return False


def lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: lists(one) for name, one in value.items()}
    if isinstance(value, list):
        return [lists(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value
