"""huggingface_hub's InferenceClient, sync and async, as for a text-embeddings-inference server."""

import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from reference import EMBEDDER, TEXTS, cosine, refused, same


def main() -> None:
    client = InferenceClient(base_url=EMBEDDER)
    whole = client.feature_extraction(TEXTS[0], normalize=True, truncate=True)
    same(whole, TEXTS[:1])
    alike = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    vectors = [client.feature_extraction(text)[0] for text in TEXTS]
    same(vectors)
    for found, vector in zip(alike, vectors[1:], strict=True):
        assert abs(found - cosine(vectors[0], vector)) < 1e-4
    with refused(HfHubHTTPError, "no prompt 'nonsense'"):
        client.feature_extraction(TEXTS[0], prompt_name="nonsense")
    asyncio.run(concurrently())


async def concurrently() -> None:
    client = AsyncInferenceClient(base_url=EMBEDDER)
    found = await asyncio.gather(*(client.feature_extraction(text) for text in TEXTS))
    same([vectors[0] for vectors in found])


main()
