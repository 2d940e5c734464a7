"""LangChain's embeddings, of OpenAI and of a Hugging Face endpoint, sync and async."""

import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings
from reference import EMBEDDER, TEXTS, same


async def main() -> None:
    of_openai = OpenAIEmbeddings(
        model="minilm",
        base_url=f"{EMBEDDER}/v1",
        api_key="none",
        check_embedding_ctx_length=False,  # else it sends token ids of OpenAI's own vocabulary
    )
    endpoint = HuggingFaceEndpointEmbeddings(model="minilm")  # takes no address of its own any more
    endpoint.client = InferenceClient(base_url=EMBEDDER)
    endpoint.async_client = AsyncInferenceClient(base_url=EMBEDDER)
    for embeddings in (of_openai, endpoint):
        same(embeddings.embed_documents(TEXTS))
        same([embeddings.embed_query(TEXTS[0])], TEXTS[:1])
        same(await embeddings.aembed_documents(TEXTS))
        same([await embeddings.aembed_query(TEXTS[1])], TEXTS[1:2])


asyncio.run(main())
