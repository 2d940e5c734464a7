"""What a route takes and gives, as /openapi.json shows it. Written beside the route."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: What any call can come to, but for the contract's own.
GET_ERRORS = (404, 500, 503)
POST_ERRORS = (400, 404, 408, 412, 413, 415, 429, 500, 503, 504)

#: What errors are in, and whatever does not say otherwise.
JSON = ("application/json",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Types are whatever msgspec knows: Structs, lists, unions. None: no body; or one without a schema.

    errors: the statuses that `error` is the body of; None for all those that any call can come to. others:
    statuses with a body of their own. media, reply_media: the types that a body may have, and a reply that is
    no error; the first is usual.
    """

    summary: str
    body: Any = None
    reply: Any = None
    error: Any = None
    errors: tuple[int, ...] | None = None
    others: Mapping[int, Any] = field(default_factory=dict)
    media: tuple[str, ...] = JSON
    reply_media: tuple[str, ...] = JSON

    def can_come_to(self, status: int) -> bool:
        """Is this among the errors of the path? 412 is not where no vectors are made."""
        return self.errors is None or status in self.errors


class _Name(PathConvertor):
    """The rest of the path, whatever is in it; starlette's own `path` ends before a line feed."""

    regex = r"[\s\S]+"


register_url_convertor("name", _Name())


class DescribedRoute(Route):
    """A path of a contract. operation: None keeps it out of the description."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        *,
        method: str,
        contract: str,
        operation: Operation | None,
        guarded: bool,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method, self.contract = method, contract
        self.operation, self.guarded = operation, guarded
