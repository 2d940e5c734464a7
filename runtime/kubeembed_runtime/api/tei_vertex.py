"""POST /vertex: several of TEI's calls in one body, as Google's Vertex AI sends them.

An instance is what POST / takes, and its prediction what that answers. They run side by side; one that cannot
be answered is the answer to all.
"""

import asyncio
from dataclasses import replace

import msgspec
from starlette.responses import Response

from kubeembed_runtime.api.contract import FINGERPRINT_HEADER, json_reply
from kubeembed_runtime.api.tei_answers import whichever
from kubeembed_runtime.api.tei_bodies import VertexBody, counted
from kubeembed_runtime.api.tei_call import Call
from kubeembed_runtime.errors import InvalidInput

#: Instances of one body that are worked on at a time: the others wait here and not in the model's queue.
AT_A_TIME = 32


class VertexReply(msgspec.Struct):
    """In the order of the instances."""

    predictions: list[msgspec.Raw]


async def vertex(call: Call) -> Response:
    body = call.read(VertexBody)
    counted("instances", body.instances)
    room = asyncio.Semaphore(AT_A_TIME)

    async def answer(place: int, instance: msgspec.Raw) -> Response:
        async with room:
            return await _answer(replace(call, body=bytes(instance)), place)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(*one)) for one in enumerate(body.instances)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    answers = [task.result() for task in tasks]
    response = json_reply(VertexReply([msgspec.Raw(one.body) for one in answers]))
    response.headers[FINGERPRINT_HEADER] = _fingerprints(call, answers)
    return response


async def _answer(call: Call, place: int) -> Response:
    """Raises what `whichever` does; where the instance is wrong, with its place."""
    try:
        return await whichever(call)
    except InvalidInput as error:
        raise InvalidInput(error.field, f"instance {place}: {error}", error.code) from error
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"instance {place}: {error}") from error


def _fingerprints(call: Call, answers: list[Response]) -> str:
    """The one of them all. Several, of instances with several adapters, match none that a client has."""
    base = call.lifecycle.model.info.fingerprint
    return ", ".join(sorted({one.headers.get(FINGERPRINT_HEADER, base) for one in answers}))
