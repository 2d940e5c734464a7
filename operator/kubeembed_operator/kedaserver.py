"""GET /load/NAMESPACE/NAME: what KEDA's metrics-api trigger asks, over plain HTTP.

Whatever goes wrong is an error and no number: KEDA then leaves the replicas as they are.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from pydantic import ValidationError

from kubeembed_api.scaling import Target
from kubeembed_operator.cluster import ClusterError
from kubeembed_operator.kedafigures import Asked, NotThere, TooMany

PATH = "/load/{namespace}/{name}"

#: Of both names, which become part of an address of the API server's.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Answer = Callable[[Asked], Awaitable[float]]


def load_handler(answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """{"load": per cent of the targets}, or an error as a sentence."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            asked = read_asked(request.match_info, request.query)
            return web.json_response({"load": round(await answer(asked), 3)})
        except ValueError as error:
            return web.Response(text=str(error), status=400)
        except NotThere as error:
            return web.Response(text=str(error), status=404)
        except (ClusterError, TooMany) as error:
            return web.Response(text=str(error), status=503)

    return handle


def read_asked(path: Mapping[str, str], query: Mapping[str, str]) -> Asked:
    """Raises ValueError."""
    for field in ("namespace", "name"):
        if LABEL.fullmatch(path[field]) is None:
            raise ValueError(f"{field}: {path[field]!r} is no name of an object")
    unknown = sorted(query.keys() - {"utilization", "queueSeconds", "idleSeconds"})
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown; have utilization, queueSeconds and idleSeconds")
    try:
        target = Target.model_validate_strings(
            {name: value for name, value in query.items() if name != "idleSeconds"}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}: {first['msg']}") from error
    idle = query.get("idleSeconds")
    if idle is not None and not idle.isdecimal():
        raise ValueError(f"idleSeconds: {idle!r} is no whole number of seconds")
    return Asked(
        key=(path["namespace"], path["name"]),
        target=target,
        idle_seconds=None if idle is None else float(idle),
    )
