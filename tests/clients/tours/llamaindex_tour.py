"""LlamaIndex, sync and async: embeddings of OpenAI's and TEI's contract, reranking of Cohere's and TEI's."""

import asyncio

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from reference import EMBEDDER, QUERY, RERANKER, TEXTS, ranked, same


async def main() -> None:
    like = OpenAILikeEmbedding(
        model_name="minilm", api_base=f"{EMBEDDER}/v1", api_key="none", embed_batch_size=3
    )
    tei = TextEmbeddingsInference(model_name="minilm", base_url=EMBEDDER, embed_batch_size=3)
    for embedding in (like, tei):
        same(embedding.get_text_embedding_batch(TEXTS))
        same(await embedding.aget_text_embedding_batch(TEXTS))
        same([embedding.get_query_embedding(TEXTS[0])], TEXTS[:1])
        same([await embedding.aget_query_embedding(TEXTS[1])], TEXTS[1:2])
        found = await asyncio.gather(*(embedding.aget_text_embedding(text) for text in TEXTS))
        same(found)
    for reranker in (
        CohereRerank(model="reranker", api_key="none", base_url=RERANKER, top_n=3),
        TextEmbeddingInference(model_name="reranker", base_url=RERANKER, top_n=3),
    ):
        nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in TEXTS]
        bundle = QueryBundle(QUERY)
        for best in (
            reranker.postprocess_nodes(nodes, query_bundle=bundle),
            await reranker.apostprocess_nodes(nodes, query_bundle=bundle),
        ):
            ranked([TEXTS.index(one.node.text) for one in best], [one.score for one in best])


asyncio.run(main())
