"""The cohere client: v1 and v2, sync and async, embed and rerank."""

import asyncio
import base64
import struct

import cohere
from cohere.core import RequestOptions
from reference import EMBEDDER, QUERY, RERANKER, TEXTS, ranked, refused, same

ONCE = RequestOptions(max_retries=0)


def main() -> None:
    embed_v2(cohere.ClientV2("none", base_url=EMBEDDER))
    embed_v1(cohere.Client("none", base_url=EMBEDDER))
    for made in (cohere.ClientV2, cohere.Client):
        reply = made("none", base_url=RERANKER).rerank(
            model="reranker", query=QUERY, documents=TEXTS, top_n=3
        )
        ranked(*zip(*[(one.index, one.relevance_score) for one in reply.results], strict=True))
    rerank()
    asyncio.run(concurrently())


def rerank() -> None:
    with_texts = cohere.Client("none", base_url=RERANKER).rerank(
        query=QUERY, documents=[{"text": text} for text in TEXTS], return_documents=True
    )
    assert [one.document.text for one in with_texts.results] == [
        TEXTS[one.index] for one in with_texts.results
    ]
    assert sorted(one.index for one in with_texts.results) == list(range(len(TEXTS)))
    ask = {"model": "reranker", "query": QUERY, "max_tokens_per_doc": 2}
    client = cohere.ClientV2("none", base_url=RERANKER)
    first, second = client.rerank(documents=["water boils", "water froze"], **ask).results
    assert abs(first.relevance_score - second.relevance_score) > 1e-6
    first, second = client.rerank(documents=["water boils fast", "water boils"], **ask).results
    assert abs(first.relevance_score - second.relevance_score) < 1e-6


def embed_v2(client: cohere.ClientV2) -> None:
    kinds = ["float", "base64", "int8", "uint8", "binary", "ubinary"]
    reply = client.embed(
        model="minilm", input_type="search_document", texts=TEXTS, embedding_types=kinds
    )
    made = reply.embeddings
    same(made.float_)
    same([struct.unpack("<384f", base64.b64decode(one)) for one in made.base64])
    assert {len(one) for one in made.int8 + made.uint8} == {384}
    assert {len(one) for one in made.binary + made.ubinary} == {48}
    bits = [f"{byte:08b}" for byte in made.ubinary[0]]
    assert "".join(bits) == "".join("1" if value > 0 else "0" for value in made.float_[0])
    assert reply.meta.billed_units.input_tokens > len(TEXTS)
    short = client.embed(
        model="minilm",
        input_type="search_query",
        texts=TEXTS,
        output_dimension=64,
        embedding_types=["float"],
    )
    assert {len(one) for one in short.embeddings.float_} == {64}
    parts = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    same(
        client.embed(
            model="minilm", input_type="search_document", inputs=parts, embedding_types=["float"]
        ).embeddings.float_
    )
    cut = {"input_type": "clustering", "embedding_types": ["float"], "max_tokens": 4}
    long, brief = client.embed(
        model="minilm", texts=["water boils fast", "water boils"], **cut
    ).embeddings.float_
    assert long == brief
    errors(client)


def errors(client: cohere.ClientV2) -> None:
    wanted = {"input_type": "search_query", "embedding_types": ["float"], "request_options": ONCE}
    with refused(cohere.NotFoundError, "have: minilm"):
        client.embed(model="minilm:legal", texts=["a"], **wanted)
    with refused(cohere.BadRequestError, "text 1 is empty"):
        client.embed(model="minilm", texts=["a", ""], **wanted)
    with refused(cohere.BadRequestError, "at most 3 are asked for"):
        client.embed(model="minilm", texts=["a b c"], max_tokens=3, truncate="NONE", **wanted)


def embed_v1(client: cohere.Client) -> None:
    plain = client.embed(texts=TEXTS, model="minilm", input_type="search_document")
    assert plain.response_type == "embeddings_floats"
    same(plain.embeddings)
    typed = client.embed(
        texts=TEXTS, model="minilm", input_type="search_document", embedding_types=["float"]
    )
    same(typed.embeddings.float_)
    many = client.embed(texts=TEXTS * 40, model="minilm", input_type="search_document")
    same(many.embeddings, TEXTS * 40)  # in requests of 96 texts, which the client puts together


async def concurrently() -> None:
    async with cohere.AsyncClientV2("none", base_url=EMBEDDER) as client:
        calls = [
            client.embed(
                model="minilm",
                input_type="search_document",
                texts=[text],
                embedding_types=["float"],
            )
            for text in TEXTS
        ]
        same([reply.embeddings.float_[0] for reply in await asyncio.gather(*calls)])
    async with cohere.AsyncClient("none", base_url=EMBEDDER) as first:
        reply = await first.embed(texts=TEXTS, model="minilm", input_type="search_document")
        same(reply.embeddings)
    async with cohere.AsyncClientV2("none", base_url=RERANKER) as client:
        found = await client.rerank(model="reranker", query=QUERY, documents=TEXTS)
        ranked(*zip(*[(one.index, one.relevance_score) for one in found.results], strict=True))


main()
