"""Haystack's embedders and rankers, through the OpenAI and the TEI contract."""

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


def main() -> None:
    for made in (OpenAITextEmbedder(**OPENAI), HuggingFaceAPITextEmbedder(**TEI)):
        same([made.run(text=TEXTS[0])["embedding"]], TEXTS[:1])
    for many in (OpenAIDocumentEmbedder(**OPENAI), HuggingFaceAPIDocumentEmbedder(**TEI)):
        embedded = many.run(documents=[Document(content=text) for text in TEXTS])["documents"]
        same([one.embedding for one in embedded])
    ranker = HuggingFaceTEIRanker(url=RERANKER, token=None, top_k=3)
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])
    best = found["documents"]
    ranked([TEXTS.index(one.content) for one in best], [one.score for one in best])


main()
