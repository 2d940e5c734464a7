"""Many at once before a model that sleeps, each with the client's defaults: URL MODEL OPENAI COHERE.

So many of each. Prints {client: [answers, of them after another try]}.
"""

import asyncio
import json
import sys

import cohere
import httpx
import openai

url, model, *counts = sys.argv[1:]
#: Calls that share a client and its connections.
SHARED = 200

statuses: list[int] = []


async def note(response: httpx.Response) -> None:
    statuses.append(response.status_code)


async def by_openai(count: int) -> list[int]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        ask = client.embeddings.with_raw_response.create
        raws = await asyncio.gather(*(ask(model=model, input=f"call {n}") for n in range(count)))
    assert all(len(raw.parse().data[0].embedding) == 384 for raw in raws)
    return [len(raws), len([raw for raw in raws if raw.retries_taken])]


async def by_cohere(count: int) -> list[int]:
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncClient(event_hooks={"response": [note]}, timeout=300, limits=limits)
    client = cohere.AsyncClientV2("none", base_url=url, httpx_client=transport)
    sent = {"model": model, "input_type": "search_query", "embedding_types": ["float"]}
    asked = (client.embed(texts=[f"call {n}"], **sent) for n in range(count))
    answers = await asyncio.gather(*asked)
    assert all(len(answer.embeddings.float_[0]) == 384 for answer in answers)
    return [len(answers), len([status for status in statuses if status != 200])]


async def main() -> None:
    openais, coheres = map(int, counts)
    parts = [min(SHARED, openais - begun) for begun in range(0, openais, SHARED)]
    *found, cohered = await asyncio.gather(*map(by_openai, parts), by_cohere(coheres))
    print(
        json.dumps({"openai": [sum(each) for each in zip(*found, strict=True)], "cohere": cohered})
    )


asyncio.run(main())
