"""GET /v1/models and GET /v1/models/NAME: one reply that OpenAI's clients and SIE's read.

OpenAI's read `data`, with an entry for each name that a request may have; SIE's read `models`, where adapters
are profiles of the one model. A single model is both in one object. They answer while the model loads, too.
"""

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_api.report import RuntimeInfo
from kubeembed_runtime.api import limits
from kubeembed_runtime.api.body import MAX_BODIES_BYTES, MAX_BODY_BYTES
from kubeembed_runtime.api.contract import Operation, Service, json_reply, route
from kubeembed_runtime.api.openai_errors import refuse
from kubeembed_runtime.errors import UnknownModel
from kubeembed_runtime.lifecycle import Lifecycle
from kubeembed_runtime.sizes import longest

CONTRACT = "models"


class Card(msgspec.Struct, kw_only=True):
    """A model in OpenAI's words."""

    id: str
    object: str = "model"
    owned_by: str = "kubeembed"
    created: int


class Profile(msgspec.Struct, kw_only=True):
    """A way to use the model, in SIE's words: "default", or an adapter."""

    is_default: bool
    lora: str | None = None
    fingerprint: str | None = None


class Routing(msgspec.Struct, kw_only=True, frozen=True):
    """Where SIE's gateway would send a request: nowhere else here."""

    policy: str | None = None
    upstream_kind: str | None = None


class Limits(msgspec.Struct, kw_only=True):
    """What one request may be. max_tokens: of one input; longer ones are cut, unless told otherwise.

    max_characters: of one text; more where it is cut into chunks. max_bodies_bytes: of all requests together.
    """

    max_inputs: int = limits.MAX_INPUTS
    max_tokens_per_request: int = limits.MAX_TOKENS
    max_body_bytes: int = MAX_BODY_BYTES
    max_bodies_bytes: int = MAX_BODIES_BYTES
    max_tokens: int | None = None
    max_characters: int | None = None
    max_characters_chunked: int | None = None


class Details(msgspec.Struct, kw_only=True):
    """What neither contract has a word for."""

    limits: Limits
    prompts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    instructed: bool = False
    pooling: str | None = None
    normalize: bool | None = None
    dtype: str | None = None
    device: str | None = None


class Info(msgspec.Struct, kw_only=True):
    """A model in SIE's words, and under `kubeembed` in our own."""

    name: str
    inputs: tuple[str, ...] = ("text",)
    outputs: tuple[str, ...] = ()
    dims: dict[str, int] = {}
    loaded: bool
    state: str
    last_error: None = None
    max_sequence_length: int | None = None
    revision: str | None = None
    profiles: dict[str, Profile]
    capabilities: None = None
    routing: Routing = Routing()
    aliases: tuple[str, ...] = ()
    fingerprint: str | None = None
    kubeembed: Details


class Shown(Info, kw_only=True):
    """Both in one."""

    id: str
    object: str = "model"
    owned_by: str = "kubeembed"
    created: int


class Listed(msgspec.Struct, kw_only=True):
    """All of them, for both."""

    object: str = "list"
    data: list[Card]
    models: list[Info]


def routes(service: Service) -> list[Route]:
    """The paths."""
    lifecycle = service.lifecycle

    async def models(request: Request) -> Response:
        cards = [Card(id=name, created=lifecycle.created) for name in lifecycle.names]
        return json_reply(Listed(data=cards, models=[info(lifecycle)]))

    async def model(request: Request) -> Response:
        asked = request.path_params["name"]
        if asked not in lifecycle.names:
            raise UnknownModel(asked, lifecycle.names)
        about = msgspec.structs.asdict(info(lifecycle))
        about |= {"name": asked, "fingerprint": _fingerprint(lifecycle, asked)}
        return json_reply(Shown(**about, id=asked, created=lifecycle.created))

    operations = (
        ("/v1/models", models, Operation(summary="The models that can be asked", reply=Listed)),
        ("/v1/models/{name:name}", model, Operation(summary="One of them", reply=Shown)),
    )
    serve = partial(route, contract=CONTRACT, refuse=refuse, service=service)
    return [
        serve(path, "GET", answer=answer, operation=operation)
        for path, answer, operation in operations
    ]


def info(lifecycle: Lifecycle) -> Info:
    """The served model, as far as it is known: until it is loaded, little more than its name."""
    default = Profile(is_default=True)
    if not lifecycle.loaded:
        details = Details(limits=Limits())
        profiles = {"default": default}
        return Info(
            name=lifecycle.name, loaded=False, state="loading", profiles=profiles, kubeembed=details
        )
    known = lifecycle.model.info
    default.fingerprint = known.fingerprint
    profiles = {"default": default} | {
        name: Profile(is_default=False, lora=name, fingerprint=_fingerprint(lifecycle, f":{name}"))
        for name in lifecycle.model.adapters
    }
    return Info(
        name=lifecycle.name,
        outputs=known.outputs,
        dims=_dims(known),
        loaded=lifecycle.alive,
        state="loaded" if lifecycle.alive else "failed",
        max_sequence_length=known.max_tokens,
        revision=known.revision,
        profiles=profiles,
        fingerprint=known.fingerprint,
        kubeembed=_details(known),
    )


def _details(known: RuntimeInfo) -> Details:
    return Details(
        limits=Limits(
            max_tokens=known.max_tokens,
            max_characters=longest(known.max_tokens),
            max_characters_chunked=longest(known.max_tokens, chunked=True),
        ),
        prompts=known.prompts,
        labels=known.labels,
        instructed=known.instructed,
        pooling=known.pooling,
        normalize=known.normalize,
        dtype=known.dtype,
        device=known.device,
    )


def _dims(known: RuntimeInfo) -> dict[str, int]:
    """Of the vectors; a score has none."""
    dims = {known.outputs[0]: known.dimensions} | known.output_dimensions
    return {str(kind): dims[kind] for kind in known.outputs if kind in dims and kind != "score"}


def _fingerprint(lifecycle: Lifecycle, asked: str) -> str | None:
    """None while it is not known: an adapter's is read from its tensors."""
    adapter = asked.partition(":")[2]
    if not lifecycle.loaded:
        return None
    if not adapter:
        return lifecycle.model.info.fingerprint
    loaded = (s.loaded for s in lifecycle.model.registry.states if s.name == adapter)
    return next((one.fingerprint for one in loaded if one is not None), None)
