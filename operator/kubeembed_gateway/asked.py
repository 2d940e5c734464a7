"""Which model a request at the common address is for: SIE's paths name it, all others do in their body."""

from urllib.parse import unquote

import msgspec

from kubeembed_gateway.errors import Refused
from kubeembed_gateway.refusals import SIE_PATHS

MSGPACK = ("application/msgpack", "application/x-msgpack")


class Asked(msgspec.Struct):
    """Of a body, all that is read of it."""

    model: str | None = None


def in_path(path: str) -> str | None:
    """The name behind one of SIE's paths, as Python's client sends it or, escaped, TypeScript's; or None."""
    if not path.startswith(SIE_PATHS):
        return None
    bare = path.partition("?")[0]
    prefix = next(each for each in SIE_PATHS if bare.startswith(each))
    return unquote(bare.removeprefix(prefix)) or None


def in_body(body: bytes, content_type: str) -> str:
    """Raises Refused where it names none, or can't be read."""
    packed = content_type.partition(";")[0].strip().lower() in MSGPACK
    decode = msgspec.msgpack.decode if packed else msgspec.json.decode
    try:
        name = decode(body, type=Asked).model
    except msgspec.ValidationError as error:
        raise Refused(400, "model_missing", f"model can't be read: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        kind = "msgpack" if packed else "JSON"
        raise Refused(400, "invalid_json", f"the body is not {kind}: {error}") from error
    if not name:
        problem = 'model is missing: this address serves several; write "model": NAME'
        raise Refused(400, "model_missing", f"{problem}, as GET /v1/models lists them")
    return name
