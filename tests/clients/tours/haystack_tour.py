"""Haystack's embedders and rankers, through the OpenAI and the TEI contract, sync and async."""

import asyncio
from typing import Any

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from reference import EMBEDDER, QUERY, RERANKER, TEXTS, ranked, same

OPENAI = {
    "model": "minilm",
    "api_base_url": f"{EMBEDDER}/v1",
    "api_key": Secret.from_token("none"),
}
TEI = {"api_type": "text_embeddings_inference", "api_params": {"url": EMBEDDER}, "token": None}


DOCUMENTS = [Document(content=text) for text in TEXTS]


def reranked(found: dict[str, Any]) -> None:
    best = found["documents"]
    ranked([TEXTS.index(one.content) for one in best], [one.score for one in best])


def synchronous() -> None:
    for made in (OpenAITextEmbedder(**OPENAI), HuggingFaceAPITextEmbedder(**TEI)):
        same([made.run(text=TEXTS[0])["embedding"]], TEXTS[:1])
    for many in (OpenAIDocumentEmbedder(**OPENAI), HuggingFaceAPIDocumentEmbedder(**TEI)):
        embedded = many.run(documents=DOCUMENTS)["documents"]
        same([one.embedding for one in embedded])
    ranker = HuggingFaceTEIRanker(url=RERANKER, token=None, top_k=3)
    reranked(ranker.run(query=QUERY, documents=DOCUMENTS))


async def asynchronous() -> None:
    for made in (OpenAITextEmbedder(**OPENAI), HuggingFaceAPITextEmbedder(**TEI)):
        found = await asyncio.gather(*(made.run_async(text=text) for text in TEXTS))
        same([one["embedding"] for one in found])
        await made.close_async()
    for many in (OpenAIDocumentEmbedder(**OPENAI), HuggingFaceAPIDocumentEmbedder(**TEI)):
        embedded = (await many.run_async(documents=DOCUMENTS))["documents"]
        same([one.embedding for one in embedded])
        await many.close_async()
    ranker = HuggingFaceTEIRanker(url=RERANKER, token=None, top_k=3)
    reranked(await ranker.run_async(query=QUERY, documents=DOCUMENTS))
    await ranker.close_async()


synchronous()
asyncio.run(asynchronous())
