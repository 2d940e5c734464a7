"""What SIE's clients send, in msgpack or JSON: read, and checked as far as no model is needed for it.

Options that this server does not know are refused, not ignored: each of them would change the vectors.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from starlette.requests import Request

from kubeembed_runtime.api.body import BadBody, read_body
from kubeembed_runtime.api.limits import MAX_INPUTS, check_count
from kubeembed_runtime.api.sie_arrays import Dtype
from kubeembed_runtime.api.structure import MAX_CONTAINERS
from kubeembed_runtime.errors import InvalidInput
from kubeembed_runtime.requests import Truncate

MSGPACK = "application/msgpack"
JSON = "application/json"

#: Names that msgpack has had before it was registered, too.
MEDIA = (MSGPACK, JSON, "application/x-msgpack", "application/vnd.msgpack")

#: What an item may hold that is no text.
OTHER_MEDIA = ("images", "audio", "video", "document", "multivector")

OutputType = Literal["dense", "sparse", "multivector"]

T = TypeVar("T")


#: The name of an item's property, and what nobody here reads: left undecoded, whatever its size.
Metadata = Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=1024)]

#: A medium that is not there, in JSON and msgpack: null, or an empty list.
ABSENT = (b"null", b"[]", b"\xc0", b"\x90")


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """A text, with an id that comes back. `content` is another name of `text`."""

    id: str | None = None
    text: str | None = None
    content: str | None = None
    metadata: Metadata | None = None
    images: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    audio: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    video: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    document: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    multivector: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """profile, lora_id, lora: three names for an adapter; "default" is the model without one.

    The rest is as in SIE's profiles; dimensions and truncate are ours.
    """

    is_query: bool | None = None
    profile: str | None = None
    lora_id: str | None = None
    lora: str | None = None
    instruction: str | None = None
    output_types: list[OutputType] | None = None
    output_dtype: Dtype | None = None
    normalize: bool | None = None
    dimensions: int | None = None
    truncate: Truncate | None = None


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """How to encode."""

    output_types: list[OutputType] | None = None
    instruction: str | None = None
    output_dtype: Dtype | None = None
    options: Options | None = None


#: Their count is checked apart, so that the error can say how many there are; msgspec keeps it from being
#: millions, which it refuses in msgpack before it makes any.
Items = Annotated[
    list[Item],
    msgspec.Meta(
        max_length=MAX_CONTAINERS, extra_json_schema={"minItems": 1, "maxItems": MAX_INPUTS}
    ),
]


class EncodeBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/encode/{model}."""

    items: Items
    params: Params | None = None


class ScoreBody(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/score/{model}."""

    query: Item
    items: Items
    instruction: str | None = None
    options: Options | None = None


async def read(request: Request, kind: type[T]) -> tuple[T, bool]:
    """The body, and whether msgpack is wanted for the reply.

    Raises BadBody, ClientGone; msgspec's errors for what cannot be read.
    """
    told = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if told not in MEDIA:
        problem = f"the content type is {told!r}; send {MSGPACK} or {JSON}"
        raise BadBody(415, problem, "unsupported_media_type")
    body = await read_body(request, told)
    packed = told != JSON
    decode = msgspec.msgpack.decode if packed else msgspec.json.decode
    return decode(body, type=kind), _wants_msgpack(request.headers.get("accept", ""), packed)


def texts(items: Sequence[Item], field: str = "items") -> list[str]:
    """The text of each. Raises InvalidInput."""
    if not items:
        raise InvalidInput("inputs", f"{field} is empty; send at least one item")
    check_count(field, items)
    return [text(item, f"{field}[{index}]") for index, item in enumerate(items)]


def text(item: Item, where: str) -> str:
    """Raises InvalidInput where there is none, or anything else is to be read."""
    others = [name for name in OTHER_MEDIA if _is_there(getattr(item, name))]
    if others:
        raise InvalidInput("inputs", f"{where} has {', '.join(others)}; this model reads text only")
    if item.text is not None and item.content is not None:
        raise InvalidInput("inputs", f"{where} has text and content, which are one; send text")
    found = item.text if item.text is not None else item.content
    if found is None:
        raise InvalidInput("inputs", f"{where} has no text; send text")
    return found


def _is_there(medium: msgspec.Raw | msgspec.UnsetType) -> bool:
    return medium is not msgspec.UNSET and bytes(medium) not in ABSENT


def adapter(options: Options, asked: str | None, allowed: Sequence[str]) -> str | None:
    """The adapter that the options name, or the path did. Raises InvalidInput: never the base instead."""
    by_name = {
        "options.profile": None if options.profile == "default" else options.profile,
        "options.lora_id": options.lora_id,
        "options.lora": options.lora,
    }
    named = {name: value for name, value in by_name.items() if value is not None}
    for name, value in named.items():
        if value not in allowed:
            have = ", ".join(allowed) or "none: the model has no adapters"
            raise InvalidInput("model", f"{name} is {value!r}; allowed: {have}")
    found = {*named.values(), *([asked] if asked is not None else [])}
    if len(found) > 1:
        problem = f"the request names {len(found)} adapters ({', '.join(sorted(found))}); name one"
        raise InvalidInput("model", problem)
    return next(iter(found), None)


def allowed(path: str, problem: str) -> Sequence[str]:
    """What may stand where msgspec found an unknown field or value; empty where it says so itself."""
    last = path.rpartition(".")[2].partition("[")[0]
    if "unknown field" in problem:
        kinds = {"options": Options, "params": Params, "items": Item, "query": Item}
        return kinds[last].__struct_fields__ if last in kinds else ()
    if "Invalid enum value" in problem:
        values = {"output_types": OutputType, "output_dtype": Dtype, "truncate": Truncate}
        return sorted(get_args(values[last])) if last in values else ()
    return ()


def _wants_msgpack(accept: str, sent: bool) -> bool:
    """As Accept says; a client that does not say gets what it sent."""
    if "msgpack" in accept:
        return True
    return sent and "json" not in accept
