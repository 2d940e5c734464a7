"""openai, cohere and huggingface_hub while replicas go and others come: URL BEGUN STOP. An error ends it.

Each with its own defaults: openai and cohere come again twice; huggingface_hub's InferenceClient never does.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cohere
import openai
from huggingface_hub import AsyncInferenceClient, InferenceClient

url, begun, stop = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
V2 = {"model": "minilm", "input_type": "search_query", "embedding_types": ["float"]}
retries = 0


def until_told(ask: Callable[[str], int]) -> int:
    """How many calls were answered, each with 384 numbers."""
    calls = 0
    while not stop.exists():
        width = ask(f"call {calls}")
        assert width == 384, width
        calls += 1
        begun.touch()
    return calls


def by_openai() -> int:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:

        def ask(text: str) -> int:
            global retries
            raw = client.embeddings.with_raw_response.create(model="minilm", input=text)
            retries += raw.retries_taken
            return len(raw.parse().data[0].embedding)

        return until_told(ask)


def by_cohere() -> int:
    client = cohere.ClientV2("none", base_url=url)
    return until_told(lambda text: len(client.embed(texts=[text], **V2).embeddings.float_[0]))


def by_hub() -> int:
    client = InferenceClient(base_url=url)
    return until_told(lambda text: client.feature_extraction(text).shape[-1])


def later(make: Callable[[], Any]) -> int:
    """Of an asynchronous client: (context, call)."""

    async def run() -> int:
        calls = 0
        async with make() as client:
            while not stop.exists():
                assert await LATER[make](client, f"call {calls}") == 384
                calls += 1
        return calls

    return asyncio.run(run())


def openai_later() -> Any:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none")


def cohere_later() -> Any:
    return cohere.AsyncClientV2("none", base_url=url)


def hub_later() -> Any:
    return AsyncInferenceClient(base_url=url)


async def _openai(client: Any, text: str) -> int:
    return len((await client.embeddings.create(model="minilm", input=text)).data[0].embedding)


async def _cohere(client: Any, text: str) -> int:
    return len((await client.embed(texts=[text], **V2)).embeddings.float_[0])


async def _hub(client: Any, text: str) -> int:
    return (await client.feature_extraction(text)).shape[-1]


LATER = {openai_later: _openai, cohere_later: _cohere, hub_later: _hub}

with ThreadPoolExecutor(6) as threads:
    running = {call.__name__: threads.submit(call) for call in (by_openai, by_cohere, by_hub)}
    running |= {make.__name__: threads.submit(later, make) for make in LATER}
    for one in running.values():
        one.add_done_callback(lambda done: done.exception() and stop.touch())
    print(json.dumps({name: one.result() for name, one in running.items()} | {"retries": retries}))
