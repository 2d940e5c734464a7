"""One client's default call to a model that sleeps behind a gateway which holds nothing: CLIENT URL.

Prints how often the client came again by itself.
"""

import sys

import cohere
import httpx
import openai

client, url = sys.argv[1:3]
statuses: list[int] = []


def note(response: httpx.Response) -> None:
    statuses.append(response.status_code)


def by_openai() -> int:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as made:
        raw = made.embeddings.with_raw_response.create(model="minilm", input="a")
        statuses.extend([503] * raw.retries_taken)
        return len(raw.parse().data[0].embedding)


def by_cohere() -> int:
    transport = httpx.Client(event_hooks={"response": [note]})
    made = cohere.ClientV2("none", base_url=url, httpx_client=transport)
    sent = {"model": "minilm", "input_type": "search_query", "embedding_types": ["float"]}
    return len(made.embed(texts=["a"], **sent).embeddings.float_[0])


assert {"openai": by_openai, "cohere": by_cohere}[client]() == 384
print(statuses.count(503))
