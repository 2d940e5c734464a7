"""The openai client, sync and async."""

import asyncio

import openai
from reference import EMBEDDER, TEXTS, refused, same

SETTINGS = {"base_url": f"{EMBEDDER}/v1", "api_key": "none"}


def main() -> None:
    client = openai.OpenAI(**SETTINGS)
    reply = client.embeddings.create(model="minilm", input=TEXTS)
    same([one.embedding for one in reply.data])
    assert reply.usage.total_tokens > len(TEXTS)
    floats = client.embeddings.create(model="minilm", input=TEXTS[0], encoding_format="float")
    same([floats.data[0].embedding], TEXTS[:1])
    short = client.embeddings.create(model="minilm", input=TEXTS, dimensions=64)
    assert {len(one.embedding) for one in short.data} == {64}
    assert [model.id for model in client.models.list()] == ["minilm"]
    assert client.models.retrieve("minilm").id == "minilm"
    errors(client)
    asyncio.run(concurrently())


def errors(client: openai.OpenAI) -> None:
    with refused(openai.NotFoundError, "model_not_found", "have: minilm"):
        client.embeddings.create(model="minilm:legal", input="a")
    with refused(openai.BadRequestError, "input 1 is an empty string"):
        client.embeddings.create(model="minilm", input=["a", ""])


async def concurrently() -> None:
    async with openai.AsyncOpenAI(**SETTINGS) as client:
        calls = [client.embeddings.create(model="minilm", input=text) for text in TEXTS]
        same([reply.data[0].embedding for reply in await asyncio.gather(*calls)])


main()
