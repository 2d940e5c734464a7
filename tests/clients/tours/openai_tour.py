"""The openai client, sync and async."""

import asyncio

import openai
from reference import EMBEDDER, TEXTS, cosine, refused, same

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
    chunks(client)
    errors(client)
    asyncio.run(concurrently())


def chunks(client: openai.OpenAI) -> None:
    """Each vector is that of the characters that it is said to be of; the mean of some is near to each."""
    long = " ".join(["the wing of an aircraft moves at high speed"] * 30)
    texts, asked = [long, TEXTS[0]], {"tokens": 50, "overlap": 10}
    of = client.embeddings.create
    found = of(model="minilm", input=texts, extra_body={"chunking": asked}).data
    places = [each.model_extra["chunk"] for each in found]
    assert [place["input"] for place in places] == [0, 0, 0, 0, 0, 0, 0, 1]
    assert (places[0]["start"], places[-2]["end"]) == (0, len(long))
    parts = [texts[place["input"]][place["start"] : place["end"]] for place in places]
    alone = of(model="minilm", input=parts).data
    for chunk, part in zip(found, alone, strict=True):
        assert cosine(chunk.embedding, part.embedding) > 0.99999
    pooled = of(model="minilm", input=texts, extra_body={"chunking": asked | {"pooled": True}}).data
    assert len(pooled) == 2
    assert cosine(pooled[0].embedding, found[0].embedding) > 0.9
    same([pooled[1].embedding], TEXTS[:1])
    with refused(openai.BadRequestError, "between 1 and 254 fit into the model"):
        of(model="minilm", input=texts, extra_body={"chunking": {"tokens": 300}})


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
