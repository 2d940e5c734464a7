"""The admin port's adapters: listed, loaded or replaced, removed, while the model serves.

A path is a folder that this process sees, the cache's mount for one; nothing is fetched here.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kubeembed_runtime.adapters import Adapter, AdapterState, ToldGolden
from kubeembed_runtime.api.body import BadBody, read_body
from kubeembed_runtime.api.contract import json_reply
from kubeembed_runtime.errors import AdapterMissing, AdapterRefused, Loading, UnknownModel
from kubeembed_runtime.lifecycle import Lifecycle

#: As the document has names.
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
_Path = Annotated[str, msgspec.Meta(pattern="^/")]


class Golden(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Golden vectors: lines of JSON as their ConfigMap has them, and how near is near enough."""

    lines: str
    min_cosine: Annotated[float, msgspec.Meta(gt=0, le=1)]


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """What PUT sends: the absolute path of a folder as PEFT saves it, and what its vectors have to be."""

    path: _Path
    golden: Golden | None = None


class Shown(msgspec.Struct):
    """An adapter as it is listed. Where it is not loaded it has a name, a path and perhaps an error."""

    name: str
    path: str
    loaded: bool
    bytes: int | None = None
    fingerprint: str | None = None
    base: str | None = None
    error: str | None = None
    reason: str | None = None


def routes(lifecycle: Lifecycle) -> list[Route]:
    """GET /adapters, PUT and DELETE /adapters/NAME."""

    async def show(request: Request) -> Response:
        return json_reply(
            {"adapters": [_shown(state) for state in lifecycle.model.registry.states]}
        )

    async def put(request: Request) -> Response:
        name = msgspec.convert(request.path_params["name"], _Name)
        place = msgspec.json.decode(await read_body(request), type=Place)
        loading = lifecycle.model.registry.put(name, Path(place.path), _told(place.golden))
        # Once begun it is done, whether or not the caller stays.
        adapter = await asyncio.shield(asyncio.wrap_future(loading))
        return json_reply(_described(name, place.path, adapter))

    async def remove(request: Request) -> Response:
        removing = lifecycle.model.registry.remove(request.path_params["name"])
        await asyncio.shield(asyncio.wrap_future(removing))
        return Response(status_code=204)

    async def change(request: Request) -> Response:
        return await (put if request.method == "PUT" else remove)(request)

    async def answered(request: Request) -> Response:
        try:
            return await (change if "name" in request.path_params else show)(request)
        except (AdapterRefused, BadBody, Loading, UnknownModel, msgspec.DecodeError) as error:
            reason = {"reason": str(error.reason)} if isinstance(error, AdapterRefused) else {}
            return json_reply({"error": str(error)} | reason, _status(error))

    return [
        Route("/adapters", answered, methods=["GET"]),
        Route("/adapters/{name}", answered, methods=["PUT", "DELETE"]),
    ]


def _told(golden: Golden | None) -> ToldGolden | None:
    if golden is None:
        return None
    return ToldGolden(lines=golden.lines, min_cosine=golden.min_cosine)


def _status(error: Exception) -> int:
    match error:
        case BadBody():
            return error.status
        case UnknownModel() | AdapterMissing():
            return 404
        case AdapterRefused():
            return 422
        case Loading():
            return 503
    return 400


def _shown(state: AdapterState) -> Shown:
    if state.loaded is None:
        return Shown(
            name=state.name,
            path=str(state.folder),
            loaded=False,
            error=state.problem,
            reason=None if state.reason is None else str(state.reason),
        )
    return _described(state.name, str(state.folder), state.loaded)


def _described(name: str, path: str, adapter: Adapter) -> Shown:
    return Shown(
        name=name,
        path=path,
        loaded=True,
        bytes=adapter.bytes,
        fingerprint=adapter.fingerprint,
        base=adapter.base,
    )
