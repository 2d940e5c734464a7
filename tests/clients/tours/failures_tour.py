"""What openai and cohere, sync and async, make of each failure: two URLs.

The first server fails for a text as the text says, and its key is "key"; the second is still loading.
"""

import asyncio
import sys
from typing import Any

import cohere
import httpx
import openai
from cohere.core import RequestOptions

FAILING, STARTING = sys.argv[1:3]
ONCE = RequestOptions(max_retries=0)

#: text -> the status, cohere's error and openai's, where the client does not come again.
ENDING: dict[str, tuple[int, type[Exception], type[Exception]]] = {
    "long 9": (400, cohere.BadRequestError, openai.BadRequestError),
    "full 9": (429, cohere.TooManyRequestsError, openai.RateLimitError),
    "device 9": (500, cohere.InternalServerError, openai.InternalServerError),
    "unforeseen 9": (500, cohere.InternalServerError, openai.InternalServerError),
    "memory 9": (503, cohere.ServiceUnavailableError, openai.InternalServerError),
    "refused 9": (503, cohere.ServiceUnavailableError, openai.InternalServerError),
    "late 9": (504, cohere.GatewayTimeoutError, openai.InternalServerError),
}


class Counted:
    """The statuses of a client's replies, and the transport that notes them."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.sync = httpx.Client(event_hooks={"response": [self._note]})
        self.later = httpx.AsyncClient(event_hooks={"response": [self._note_later]})

    def _note(self, response: httpx.Response) -> None:
        self.statuses.append(response.status_code)

    async def _note_later(self, response: httpx.Response) -> None:
        self.statuses.append(response.status_code)


def embed_v2(text: str) -> dict[str, Any]:
    return {
        "model": "bge",
        "input_type": "search_query",
        "texts": [text],
        "embedding_types": ["float"],
    }


def caught(kind: type[Exception], call: Any, *arguments: Any, **named: Any) -> Any:
    try:
        call(*arguments, **named)
    except kind as error:
        found = error
    else:
        raise AssertionError(f"no {kind.__name__} for {arguments or named}")
    assert type(found) is kind, repr(found)
    return found


def cohere_ends() -> None:
    v2 = cohere.ClientV2("key", base_url=FAILING)
    v1 = cohere.Client("key", base_url=FAILING)
    for text, (status, kind, _) in ENDING.items():
        ask = {"model": "bge", "query": f"{text} rerank", "documents": ["a"]}
        calls = (
            (v2.embed, embed_v2(f"{text} v2")),
            (v1.embed, {"texts": [f"{text} v1"], "model": "bge", "input_type": "search_query"}),
            (v2.rerank, ask),
            (v1.rerank, ask),
        )
        for call, sent in calls:
            error = caught(kind, call, **sent, request_options=ONCE)
            assert error.status_code == status, error.status_code
            assert error.body["message"], error.body
    stranger = cohere.ClientV2("other", base_url=FAILING)
    caught(cohere.UnauthorizedError, stranger.embed, **embed_v2("full 0"))


def cohere_comes_again() -> None:
    for made, sent in (
        (cohere.ClientV2, embed_v2("full 1 again v2")),
        (cohere.Client, {"texts": ["full 1 again v1"], "model": "bge"}),
    ):
        seen = Counted()
        reply = made("key", base_url=FAILING, httpx_client=seen.sync).embed(**sent)
        vectors = getattr(reply.embeddings, "float_", reply.embeddings)
        assert (seen.statuses, vectors) == ([429, 200], [[15.0] * 3]), seen.statuses
        seen = Counted()
        client = made("key", base_url=FAILING, httpx_client=seen.sync)
        ranked = client.rerank(model="bge", query=f"full 1 {made.__name__}", documents=["a"])
        assert (seen.statuses, len(ranked.results)) == ([429, 200], 1), seen.statuses


async def cohere_comes_again_later() -> None:
    for made, sent in (
        (cohere.AsyncClientV2, embed_v2("full 1 later v2")),
        (cohere.AsyncClient, {"texts": ["full 1 later v1"], "model": "bge"}),
    ):
        seen = Counted()
        async with made("key", base_url=FAILING, httpx_client=seen.later) as client:
            await client.embed(**sent)
            query = f"full 1 {made.__name__}"
            await client.rerank(model="bge", query=query, documents=["a"])
        assert seen.statuses == [429, 200, 429, 200], seen.statuses


def openai_ends() -> None:
    client = openai.OpenAI(base_url=f"{FAILING}/v1", api_key="key", max_retries=0)
    for text, (status, _, kind) in ENDING.items():
        error = caught(kind, client.embeddings.create, model="bge", input=f"{text} openai")
        assert error.status_code == status, error.status_code
        assert set(error.body) == {"message", "type", "param", "code"}, error.body
    stranger = client.with_options(api_key="other")
    caught(openai.AuthenticationError, stranger.embeddings.create, model="bge", input="full 0")


async def openai_comes_again() -> None:
    settings = {"base_url": f"{FAILING}/v1", "api_key": "key"}
    with openai.OpenAI(**settings) as client:
        asked = client.embeddings.with_raw_response
        assert asked.create(model="bge", input="full 1 openai").retries_taken == 1
    async with openai.AsyncOpenAI(**settings) as later:
        asked_later = later.embeddings.with_raw_response
        reply = await asked_later.create(model="bge", input="full 1 openai later")
        assert reply.retries_taken == 1


async def wait_for_the_model() -> None:
    """Both clients come again while it loads."""
    seen = Counted()
    async with cohere.AsyncClientV2(
        "none", base_url=STARTING, httpx_client=seen.later, max_retries=60
    ) as client:
        reply = await client.embed(**embed_v2("a") | {"model": "minilm"})
    assert len(reply.embeddings.float_[0]) == 384
    assert seen.statuses[-1] == 200
    assert set(seen.statuses[:-1]) <= {503}, seen.statuses
    print("answers while it loaded:", seen.statuses)


async def main() -> None:
    await wait_for_the_model()
    cohere_ends()
    cohere_comes_again()
    await cohere_comes_again_later()
    openai_ends()
    await openai_comes_again()


asyncio.run(main())
